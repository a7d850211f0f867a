"""What the schema says of a message's fields, as the parser needs it, and of fields it lacks."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, NamedTuple

from pycaffe_clr.proto import LayerParameter, NetParameter, SolverParameter, is_repeated
from pycaffe_clr.prototxt.forks import FORK_NAMES


class FieldInfo(NamedTuple):
    """One field of a message. low, high: bounds of a whole number."""

    name: str
    kind: str  # int, float, bool, string, bytes, enum, message
    repeated: bool
    low: int
    high: int
    values: Mapping[str, int]  # of an enum
    descriptor: Any  # of a message or an enum

    @staticmethod
    def of(field: Any) -> FieldInfo:
        """From a FieldDescriptor."""
        kind, low, high = _KINDS[field.type]
        values = {}
        if kind == "enum":
            values = {value.name: value.number for value in field.enum_type.values}
        descriptor = field.message_type or field.enum_type
        return FieldInfo(field.name, kind, is_repeated(field), low, high, values, descriptor)


_INT32 = (-(2**31), 2**31 - 1)
_INT64 = (-(2**63), 2**63 - 1)
# By FieldDescriptor.type, which are the numbers of descriptor.proto.
_KINDS: dict[int, tuple[str, int, int]] = {
    1: ("float", 0, 0),  # double
    2: ("float", 0, 0),
    3: ("int", *_INT64),
    4: ("int", 0, 2**64 - 1),
    5: ("int", *_INT32),
    8: ("bool", 0, 0),
    9: ("string", 0, 0),
    11: ("message", 0, 0),
    12: ("bytes", 0, 0),
    13: ("int", 0, 2**32 - 1),
    14: ("enum", *_INT32),
}

_field_cache: dict[str, dict[str, FieldInfo]] = {}


def fields_of(descriptor: Any) -> dict[str, FieldInfo]:
    """The fields of a message type by name."""
    fields = _field_cache.get(descriptor.full_name)
    if fields is None:
        fields = {field.name: FieldInfo.of(field) for field in descriptor.fields}
        _field_cache[descriptor.full_name] = fields
    return fields


def unknown_field(descriptor: Any, name: str) -> str:
    """What to say about a field that the schema does not have."""
    message = f'{descriptor.name} has no field "{name}"'
    close = difflib.get_close_matches(name, fields_of(descriptor), n=2, cutoff=0.7)
    if name in FORK_NAMES:
        return f"{message}; it belongs to {FORK_NAMES[name]}"
    if close:
        return f"{message}; did you mean {' or '.join(close)}?"
    if owners := _owners(name):
        return f"{message}; it belongs in {' or '.join(owners)}"
    return message


def _owners(name: str) -> list[str]:
    """Where a field does exist: in a solver or net file, or in settings inside a layer."""
    owners = [
        f"a {kind} file"
        for kind, message_class in (("net", NetParameter), ("solver", SolverParameter))
        if name in fields_of(message_class.DESCRIPTOR)
    ]
    for info in fields_of(LayerParameter.DESCRIPTOR).values():
        if info.name == name:
            owners.append("layer { }")
        elif info.kind == "message" and name in fields_of(info.descriptor):
            owners.append(info.name)
    return owners if len(owners) <= 4 else []
