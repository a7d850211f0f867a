"""Where things stand in a prototxt file, for messages like `net.prototxt:7:12`."""

from __future__ import annotations

from bisect import bisect_right
from typing import Generic, NamedTuple, TypeVar

from google.protobuf.message import Message

M = TypeVar("M", bound=Message)

FieldPath = tuple[str | int, ...]


class Source:
    """The text a message was read from, with the position of every field that was set in it.

    A path names a field from the top: ("layer", 3, "convolution_param", 0, "num_output", 0), the
    number being the place in a repeated field, or 0.
    """

    def __init__(self, name: str, text: str = "") -> None:
        self.name = name
        self.text = text
        self.marks: dict[FieldPath, int] = {}
        # Position of each layer after upgrades, which insert, drop and move layers; None for
        # layers that an upgrade made.
        self.layers: list[int | None] = []
        # Fields that came from elsewhere, such as the command line, and what to say instead.
        self.notes: dict[str, str] = {}
        self.used_defines: set[str] = set()
        self._line_starts: list[int] | None = None

    def line_and_column(self, offset: int) -> tuple[int, int]:
        """Line and column of a character, both counted from 1."""
        if self._line_starts is None:
            starts = [0]
            position = self.text.find("\n")
            while position >= 0:
                starts.append(position + 1)
                position = self.text.find("\n", position + 1)
            self._line_starts = starts
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def at(self, offset: int) -> str:
        """`file:line:column` of a character."""
        line, column = self.line_and_column(offset)
        return f"{self.name}:{line}:{column}"

    def where(self, field: str, index: int = 0) -> str:
        """`file:line:column` of a top-level field; the file's name alone if not set there."""
        if field in self.notes:
            return self.notes[field]
        offset = self.marks.get((field, index))
        return self.name if offset is None else self.at(offset)

    def layer(self, index: int) -> str:
        """`file:line` of layer number `index` of the upgraded net."""
        offset = self.layers[index] if index < len(self.layers) else None
        return self.name if offset is None else f"{self.name}:{self.line_and_column(offset)[0]}"


class Parsed(NamedTuple, Generic[M]):
    """A message and where it was read from: messages can hold nothing beside their fields."""

    message: M
    source: Source


def nowhere(message: Message) -> Source:
    """What errors call a message whose text nobody knows: `<NetParameter>`."""
    return Source(f"<{message.DESCRIPTOR.name}>")
