"""Nets as plain data, and their prototxt text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


class Word(str):
    """A string that prototxt writes without quotes: an enum value."""


TRAIN, TEST = Word("TRAIN"), Word("TEST")
LMDB = Word("LMDB")
MAX, AVE, SUM = Word("MAX"), Word("AVE"), Word("SUM")
WITHIN_CHANNEL = Word("WITHIN_CHANNEL")

# Learning rate and weight decay multipliers, one per parameter blob of a layer.
WEIGHT = {"lr_mult": 1, "decay_mult": 1}
BIAS = {"lr_mult": 2, "decay_mult": 0}
STATISTIC = {"lr_mult": 0, "decay_mult": 0}  # BatchNorm's three blobs are not learnt


def scalar(value: object) -> str:
    """One value as prototxt writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and not isinstance(value, Word):
        return f'"{value}"'
    return str(value)


def fields_text(fields: Mapping[str, Any], indent: str = "") -> str:
    """Fields in the order of the mapping: a mapping is a message, a sequence a repeated field."""
    lines = []
    for name, value in fields.items():
        repeated = isinstance(value, Sequence) and not isinstance(value, str)
        for item in value if repeated else [value]:
            if isinstance(item, Mapping):
                lines.append(f"{indent}{name} {{\n{fields_text(item, indent + '  ')}{indent}}}\n")
            else:
                lines.append(f"{indent}{name}: {scalar(item)}\n")
    return "".join(lines)


@dataclass(frozen=True)
class Dataset:
    """Where a data set lies and how its images go in. train_batch is one replica's batch."""

    train: str
    test: str
    transform: Mapping[str, Any]
    classes: int
    test_transform: Mapping[str, Any] | None = None  # None: that of training


@dataclass
class Net:
    """A net under construction: layers are added in order and name their own tops."""

    name: str
    layers: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        kind: str,
        name: str,
        bottoms: str | Sequence[str] = (),
        top: str | Sequence[str] | None = None,
        **fields: Any,
    ) -> str:
        """Appends a layer and returns its (first) top, which is its name unless given.

        A layer whose top is its bottom works in place.
        """
        tops = [name] if top is None else [top] if isinstance(top, str) else list(top)
        below = [bottoms] if isinstance(bottoms, str) else list(bottoms)
        layer = {"name": name, "type": kind, "bottom": below, "top": tops}
        self.layers.append(layer | fields)
        return tops[0]

    def data(
        self, name: str, top: str, dataset: Dataset, train_batch: int, test_batch: int
    ) -> None:
        """The pair of Data layers, one per phase, with tops `top` and label."""
        phases = (
            (TRAIN, dataset.train, train_batch, dataset.transform),
            (TEST, dataset.test, test_batch, dataset.test_transform or dataset.transform),
        )
        for phase, source, batch, transform in phases:
            self.add(
                "Data",
                name,
                top=[top, "label"],
                include={"phase": phase},
                transform_param=transform,
                data_param={"source": source, "batch_size": batch, "backend": LMDB},
            )

    def text(self, comment: str) -> str:
        """The whole file; comment: lines without their #."""
        head = "".join(f"# {line}\n" for line in comment.splitlines())
        return head + fields_text({"name": self.name, "layer": self.layers})
