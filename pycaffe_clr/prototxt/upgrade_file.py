"""Whole files of old forms, text and binary, in today's."""

from __future__ import annotations

from pathlib import Path

from google.protobuf.message import DecodeError, EncodeError, Message

from pycaffe_clr import proto
from pycaffe_clr.errors import DataError
from pycaffe_clr.prototxt.files import is_solver
from pycaffe_clr.prototxt.source import Source
from pycaffe_clr.prototxt.text import parse_located, read_text
from pycaffe_clr.prototxt.upgrade import upgrade_net, upgrade_solver
from pycaffe_clr.prototxt.writer import format_message

# Bytes that text does not have but every binary net does, in the tags of its layers.
_CONTROL = set(range(32)) - set(b"\t\n\r\f\v")
_LOOKED_AT = 4096


def upgraded(path: Path) -> tuple[bytes, bool]:
    """A net, a solver or a binary model in today's form, and whether that changed it.

    Raises ConfigError for text that cannot be upgraded, DataError for a file that cannot be read
    or is no model.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_LOOKED_AT)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read: {reason}") from error
    if _CONTROL & set(start):
        return _binary(path)
    kind = proto.SolverParameter if is_solver(path) else proto.NetParameter
    message, source = parse_located(read_text(path), kind, str(path), None)
    changed = _upgrade(message, source)
    return format_message(message).encode(), changed


def _binary(path: Path) -> tuple[bytes, bool]:
    try:
        net = proto.NetParameter.FromString(path.read_bytes())
    except (DecodeError, OSError) as error:
        raise DataError(f"{path}: is no binary net: {error}") from error
    if not len(net.layer) and not len(net.layers):
        raise DataError(f"{path}: holds no layers; is it a .caffemodel?")
    try:
        changed = _upgrade(net, Source(str(path)))
        return net.SerializeToString(), changed
    except (EncodeError, ValueError) as error:  # larger than protobuf allows, or no UTF-8
        raise DataError(f"{path}: cannot be written in today's form: {error}") from error


def _upgrade(message: Message, source: Source) -> bool:
    before = type(message)()
    before.CopyFrom(message)
    if isinstance(message, proto.SolverParameter):
        upgrade_solver(message, source)
    elif isinstance(message, proto.NetParameter):
        upgrade_net(message, source)
    return message != before
