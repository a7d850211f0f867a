"""Gives every setting of every type of layer extreme values, in a process of its own:
`python fuzz_layers.py FOLDER [FILE]`.

Each net is built and run, or refused with the layer's name; a crash, or a net that takes too long,
ends this process, and the last net is in FILE then.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import resource
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from layer_samples import NO_MESSAGE, SAMPLES, make_files, message_of

from pycaffe_clr.engine import build_net, ready_core
from pycaffe_clr.errors import ConfigError, DataError
from pycaffe_clr.proto import is_repeated
from pycaffe_clr.prototxt import parse_net

SECONDS = 20  # that one net may take
_DEEPEST = 2  # messages in messages
_FLOATS = [0.0, -1.0, 1e-40, 1e30, -1e30, float("nan"), float("inf")]


def values_of(field: Any) -> list[Any]:
    """Extreme values of a scalar field."""
    if field.cpp_type == field.CPPTYPE_ENUM:
        return [value.number for value in field.enum_type.values]
    return {
        field.CPPTYPE_BOOL: [False, True],
        field.CPPTYPE_FLOAT: _FLOATS,
        field.CPPTYPE_DOUBLE: _FLOATS,
        field.CPPTYPE_STRING: ["", "gone"],
        field.CPPTYPE_UINT32: [0, 1, 7, 2**31 - 1, 2**32 - 1],
        field.CPPTYPE_INT32: [-(2**31), -1, 0, 1, 7, 2**31 - 1],
        field.CPPTYPE_INT64: [-(2**63), -1, 0, 7, 2**31, 2**63 - 1],
    }[field.cpp_type]


def spoilt(message: Any, depth: int = 0) -> Iterator[None]:
    """Set one field of a message, or of those in it, after the other, until the next is wanted."""
    for field in message.DESCRIPTOR.fields:
        before = type(message)()
        before.CopyFrom(message)
        if field.cpp_type == field.CPPTYPE_MESSAGE:
            inner = getattr(message, field.name)
            inner = (inner[0] if len(inner) else inner.add()) if is_repeated(field) else inner
            if depth < _DEEPEST:
                yield from spoilt(inner, depth + 1)
        for value in [] if field.cpp_type == field.CPPTYPE_MESSAGE else values_of(field):
            for many in (1, 2, 40) if is_repeated(field) else (0,):
                if many:
                    message.ClearField(field.name)
                    getattr(message, field.name).extend([value] * many)
                else:
                    setattr(message, field.name, value)
                yield
        message.CopyFrom(before)


def nets_of(kind: str) -> Iterator[Any]:
    """The sample's net with one setting after the other spoilt."""
    sample = parse_net(SAMPLES[kind].net(kind))
    layer = sample.layer[-1]
    yield sample
    own = message_of(kind)
    assert (own is None) == (kind in NO_MESSAGE), kind
    more = {"Data": ["transform_param"], "Loss": ["loss_param"]}.get(kind[-4:], [])
    more += ["annotated_data_param"] if kind == "AnnotatedData" else []
    for name in [own, *more] if own else more:
        # Of other data layers' transform_param, nothing that is SSD's.
        plain = name == "transform_param" and kind != "AnnotatedData"
        for _ in spoilt(getattr(layer, name), _DEEPEST if plain else 0):
            yield sample
        layer.CopyFrom(parse_net(SAMPLES[kind].net(kind)).layer[-1])


def attempt(net: Any, device: str, last: tuple[float, ...]) -> str:
    """Build and run a net both ways; what came of it, in a word."""
    try:
        made, _ = build_net(net, phase=0, device=device)
        if made.memory_bytes > 50e6:
            return "large"
        for name in made.blobs():
            made.data(name)[...] = 1
        if last:
            made.data(net.layer[-1].bottom[-1])[...] = last
        made.forward()
        made.backward()
        return "ran"
    except (ConfigError, DataError) as error:
        # A picture that cannot be read in a pass is named itself.
        assert "layer 'it'" in str(error) or "gone" in str(error), error
        return type(error).__name__
    except MemoryError:
        return "memory"


def main(folder: Path, file: Path | None = None) -> None:
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    ready_core().set_threads(1)
    # A net that is far too large must fail to be had, and not take the machine along.
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    make_files(folder)
    os.chdir(folder)
    for kind in SAMPLES:
        told: Counter[str] = Counter()
        for number, net in enumerate(nets_of(kind)):
            if file is not None:
                file.write_text(str(net))
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            outcome = attempt(net, ("cpu", "reference")[number % 2], SAMPLES[kind].last)
            assert number or outcome == "ran", (kind, outcome)
            told[outcome] += 1
        print(kind, dict(told))
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
