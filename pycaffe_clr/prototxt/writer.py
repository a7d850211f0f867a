"""Messages to prototxt text, in the form in which Caffe prints them to its log."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

from pycaffe_clr.proto import is_repeated

if TYPE_CHECKING:
    from google.protobuf.message import Message


def format_message(message: Message) -> str:
    """The text of a message: fields by number, floats in the shortest form that reads back equal.

    parse_text(format_message(m), type(m)) == m, except that every nan reads back as the usual one.
    """
    lines: list[str] = []
    _message(message, "", lines)
    return "".join(lines)


def format_float(value: float) -> str:
    """Shortest text that reads back as the same float32, six digits at least tried: 0.1, 1e-05."""
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    single = _as_float32(value)
    for digits in range(6, 10):
        text = f"{value:.{digits}g}"
        if _as_float32(float(text)) == single:
            return text
    return repr(value)


def _as_float32(value: float) -> float:
    try:
        (single,) = struct.unpack("f", struct.pack("f", value))
        return float(single)
    except OverflowError:
        return math.copysign(math.inf, value)


def _message(message: Message, indent: str, lines: list[str]) -> None:
    for field, values in message.ListFields():
        for value in values if is_repeated(field) else [values]:
            if field.cpp_type == field.CPPTYPE_MESSAGE:
                lines.append(f"{indent}{field.name} {{\n")
                _message(value, indent + "  ", lines)
                lines.append(f"{indent}}}\n")
            else:
                lines.append(f"{indent}{field.name}: {_scalar(field, value)}\n")


def _scalar(field: Any, value: Any) -> str:
    if field.cpp_type == field.CPPTYPE_FLOAT:
        return format_float(value)
    if field.cpp_type == field.CPPTYPE_DOUBLE:
        return repr(value)
    if field.cpp_type == field.CPPTYPE_BOOL:
        return "true" if value else "false"
    if field.cpp_type == field.CPPTYPE_ENUM:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else str(value)
    if field.cpp_type == field.CPPTYPE_STRING:
        return _quoted(value.encode() if isinstance(value, str) else value)
    return str(value)


_ESCAPES = {10: "\\n", 13: "\\r", 9: "\\t", 34: '\\"', 39: "\\'", 92: "\\\\"}


def _quoted(data: bytes) -> str:
    """A string in quotes, with C's escapes for everything outside printable ASCII."""
    return (
        '"'
        + "".join(
            _ESCAPES.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}")
            for byte in data
        )
        + '"'
    )
