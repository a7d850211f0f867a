"""Layers as plain data: what the core is given instead of protobuf messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pycaffe_clr import proto
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.prototxt.rules import included_layers
from pycaffe_clr.prototxt.source import Source, nowhere

if TYPE_CHECKING:
    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message

    from pycaffe_clr.core_types import LayerSpec
    from pycaffe_clr.proto import NetParameter, NetState

# Said by the spec itself, or settled before it is made.
_LEFT_OUT = {"name", "type", "bottom", "top", "blobs", "include", "exclude"}


def net_state(
    net: NetParameter, phase: int | None, level: int = 0, stages: Sequence[str] = ()
) -> NetState:
    """State of a net that a caller builds directly (Net's constructor in net.cpp).

    phase, level: replace the net's own; stages: add to it. With phase None the net's own state is
    taken as it is.
    """
    state = proto.NetState()
    state.CopyFrom(net.state)
    if phase is not None:
        own = proto.NetState(phase=proto.phase_name(phase), level=level, stage=stages)
        state.MergeFrom(own)
    return state


def layer_specs(
    net: NetParameter,
    phase: int | None = None,
    level: int = 0,
    stages: Sequence[str] = (),
    source: Source | None = None,
) -> list[LayerSpec]:
    """The layers of an upgraded NetParameter that belong to its state, in order.

    Each is {"type", "name", "bottoms", "tops", "attributes", "where"}: attributes holds the fields
    that were set, as a tree of dicts and lists with enums by name; where is `file:line`, by
    `source`, which load_net gives with the net.
    Raises ConfigError for a layer without type.
    """
    source = source or nowhere(net)
    state = net_state(net, phase, level, stages)
    specs: list[LayerSpec] = []
    for index, layer in included_layers(net, state, source):
        where = source.layer(index)
        if not layer.type:
            raise ConfigError(f'{where}: layer "{layer.name}" has no type')
        specs.append(
            {
                "type": layer.type,
                "name": layer.name,
                "bottoms": list(layer.bottom),
                "tops": list(layer.top),
                "attributes": _tree(layer, _LEFT_OUT),
                "where": where,
            }
        )
    return specs


def message_tree(message: Message) -> dict[str, Any]:
    """The fields of any message that were set, as layer_specs gives them."""
    return _tree(message, frozenset())


def schema() -> dict[str, Any]:
    """All messages with the kinds and defaults of their fields, for the core.

    {"messages": {message: {field: {"kind", "repeated", "default", "message"}}}}; kind is int,
    float, bool, string, enum, bytes or message. default is proto2's where the schema gives none:
    0, false, "" or the enum's first value; for repeated fields it is that of an element, for
    messages None. message is the type of a message field, else "".
    """
    messages: dict[str, Any] = {}
    file = proto.NetParameter.DESCRIPTOR.file
    for name, descriptor in file.message_types_by_name.items():
        messages[name] = {field.name: _describe(field) for field in descriptor.fields}
    return {"messages": messages}


_KINDS = {1: "int", 2: "int", 3: "int", 4: "int", 5: "float", 6: "float", 7: "bool", 8: "enum"}
_KINDS |= {9: "string", 10: "message"}
_BYTES = 12
_ZEROS: dict[str, Any] = {"int": 0, "float": 0.0, "bool": False, "string": "", "bytes": b""}


def kind_of(field: FieldDescriptor) -> str:
    """int, float, bool, enum, string, message or bytes."""
    return "bytes" if field.type == _BYTES else _KINDS[field.cpp_type]


def _describe(field: Any) -> dict[str, Any]:
    kind = kind_of(field)
    default: Any = None
    if kind == "enum":
        number = (
            field.enum_type.values[0].number if proto.is_repeated(field) else field.default_value
        )
        default = field.enum_type.values_by_number[number].name
    elif kind != "message":
        default = _ZEROS[kind] if proto.is_repeated(field) else field.default_value
    return {
        "kind": kind,
        "repeated": proto.is_repeated(field),
        "default": default,
        "message": field.message_type.name if kind == "message" else "",
    }


def _enum_reader(field: Any) -> Callable[[int], str]:
    names = {value.number: value.name for value in field.enum_type.values}
    return lambda number: names.get(number, str(number))


# Message type -> field number -> how to read it; nets repeat few of them.
_Reader = tuple[str, Callable[[Any], Any] | None, bool]
_readers: dict[type, dict[int, _Reader]] = {}


def _reader(field: Any) -> _Reader:
    kind = kind_of(field)
    read: Callable[[Any], Any] | None = None
    if kind == "message":
        read = message_tree
    elif kind == "enum":
        read = _enum_reader(field)
    return field.name, read, proto.is_repeated(field)


def _tree(message: Message, left_out: frozenset[str] | set[str]) -> dict[str, Any]:
    readers = _readers.get(type(message))
    if readers is None:
        readers = {field.number: _reader(field) for field in message.DESCRIPTOR.fields}
        _readers[type(message)] = readers
    tree: dict[str, Any] = {}
    for field, value in message.ListFields():
        name, read, repeated = readers[field.number]
        if name in left_out:
            continue
        if repeated:
            tree[name] = [read(item) for item in value] if read else list(value)
        else:
            tree[name] = read(value) if read else value
    return tree
