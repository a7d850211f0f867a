"""Passes over a net without a solver: its outputs, scoring it batch by batch, timing its ops."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pycaffe_clr._core import Net


@dataclass(frozen=True)
class Score:
    """Means over batches. outputs: (blob, mean) for each value of each output; loss: weighted."""

    outputs: list[tuple[str, float]]
    loss: float


@dataclass(frozen=True)
class OpTime:
    """One op and the names of the layers that it does, or, of a way between a device and the host,
    what is copied. op: its kind. forward, backward: milliseconds a pass."""

    name: str
    op: str
    forward: float
    backward: float


def outputs(net: Net) -> list[tuple[str, float]]:
    """(blob, value) of every element of a core net's outputs, in order."""
    return [(name, value) for name in net.outputs() for value in net.read(name)]


def mean_outputs(net: Net, sums: Sequence[Sequence[float]], passes: int) -> list[tuple[str, float]]:
    """(blob, mean) of the same after so many passes. sums: as core Net.test gives them."""
    return [
        (name, value / passes)
        for name, values in zip(net.outputs(), sums, strict=True)
        for value in values
    ]


def score(
    net: Net, batches: int, each: Callable[[int, list[tuple[str, float]]], None] | None = None
) -> Score:
    """Run a core net forward, 1 or more batches; means of its outputs (caffe.cpp, test).

    each: called after every batch with its number and its (blob, value) pairs.
    """
    sums = [(name, 0.0) for name, _ in outputs(net)]
    loss = 0.0
    for batch in range(batches):
        loss += net.forward()
        values = outputs(net)
        sums = [
            (name, total + value) for (name, total), (_, value) in zip(sums, values, strict=True)
        ]
        if each:
            each(batch, values)
    return Score([(name, total / batches) for name, total in sums], loss / batches)


def _label(name: str, op: str, layers: Sequence[str]) -> str:
    if op.startswith("copy"):
        return name + op.removeprefix("copy")
    return "+".join(layers) or name


def time_ops(
    net: Net, passes: int, each: Callable[[int, float], None] | None = None
) -> tuple[list[OpTime], float]:
    """(means by op, total milliseconds) of 1 or more passes over a core net (caffe.cpp, time).

    The net should have run once before, which settles its memory. each: called after every pass
    with its number and its milliseconds.
    """
    rows: list[tuple[str, str, list[int], float, float]] = []
    sums: list[tuple[float, float]] = []
    begin = time.perf_counter()
    for number in range(passes):
        start = time.perf_counter()
        rows = net.time()
        sums = sums or [(0.0, 0.0)] * len(rows)
        sums = [(f + row[3], b + row[4]) for (f, b), row in zip(sums, rows, strict=True)]
        if each:
            each(number, 1000 * (time.perf_counter() - start))
    total = 1000 * (time.perf_counter() - begin)
    layers = [row["name"] for row in net.layers()]
    scale = 1000 / passes
    means = [
        OpTime(
            _label(row[0], row[1], [layers[i] for i in row[2]]),
            row[1],
            scale * forward,
            scale * backward,
        )
        for row, (forward, backward) in zip(rows, sums, strict=True)
    ]
    return means, total
