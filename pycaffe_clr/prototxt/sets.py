"""Fields set from the command line: `--set max_iter=100`, `--set train_state.stage=a,b`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.proto import is_repeated
from pycaffe_clr.prototxt.fields import unknown_field
from pycaffe_clr.prototxt.source import Source
from pycaffe_clr.prototxt.text import parse_value


def parse_assignments(assignments: list[str], option: str) -> dict[str, str]:
    """["a=1", "b=2"] as a dict; raises ConfigError for one without "=". option: -D or --set."""
    values = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"{option} {assignment}: expected NAME=VALUE")
        values[name.strip()] = value
    return values


def apply_sets(
    message: Any, sets: Mapping[str, str], option: str = "--set", source: Source | None = None
) -> None:
    """Set fields of a message by dotted path, in place. option: what errors call it.

    source: where the message was read from; it takes down what was set here.

    A repeated field takes all its values at once, separated by commas; an empty value clears the
    field. Inside a repeated message an element is chosen by number or by its name, which may hold
    dots no more than once: layer.conv1.convolution_param.num_output. Raises ConfigError.
    """
    for path, text in sets.items():
        where = f"{option} {path}={text}"
        _set(message, path.split("."), text, where)
        if source is not None:
            source.notes[path.split(".")[0]] = where


def _set(message: Any, path: list[str], text: str, where: str) -> None:
    name, rest = path[0], path[1:]
    field = message.DESCRIPTOR.fields_by_name.get(name)
    if field is None:
        raise ConfigError(f"{where}: {unknown_field(message.DESCRIPTOR, name)}")
    if field.message_type:
        if is_repeated(field):
            if not rest:
                raise ConfigError(f"{where}: choose one of the {name}s by number or name")
            _set_inside(_element(getattr(message, name), rest[0], where), rest[1:], text, where)
        else:
            _set_inside(getattr(message, name), rest, text, where)
        return
    if rest:
        raise ConfigError(f"{where}: {name} is a plain value, it has no field {rest[0]}")
    if not text.strip():
        message.ClearField(name)
    elif is_repeated(field):
        values = [parse_value(field, item.strip(), where) for item in text.split(",")]
        message.ClearField(name)
        getattr(message, name).extend(values)
    else:
        setattr(message, name, parse_value(field, text.strip(), where))


def _set_inside(message: Any, path: list[str], text: str, where: str) -> None:
    if not path:
        fields = ", ".join(field.name for field in message.DESCRIPTOR.fields)
        raise ConfigError(f"{where}: name one of its fields: {fields}")
    _set(message, path, text, where)


def _element(elements: Any, key: str, where: str) -> Any:
    if key.isdecimal() and len(key) < 10:
        if int(key) < len(elements):
            return elements[int(key)]
        raise ConfigError(f"{where}: there are {len(elements)}, numbered from 0")
    named = [element for element in elements if getattr(element, "name", None) == key]
    if len(named) == 1:
        return named[0]
    problem = "is not the name of one" if not named else "is the name of several; give the number"
    raise ConfigError(f'{where}: "{key}" {problem}')
