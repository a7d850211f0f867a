"""The rows that a Caffe log gives, and the tables that they make."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pycaffe_clr.train.result import Table
from pycaffe_clr.train.tables import output_columns


@dataclass
class Display:
    """What a log has of one iteration. outputs: by number: name, value, weighted loss."""

    iteration: int
    seconds: float
    smoothed: float = math.nan
    lr: float = math.nan
    momentum: float = math.nan
    weight_decay: float = math.nan
    outputs: dict[int, tuple[str, float, float | None]] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        """Sum of the weighted losses; what the log shows as the loss where it has no outputs."""
        losses = [weighted for _, _, weighted in self.outputs.values() if weighted is not None]
        return sum(losses) if losses else self.smoothed


@dataclass
class TestRow:
    """One test of one net. outputs: by number: name, value."""

    iteration: int
    net: int
    seconds: float
    outputs: dict[int, tuple[str, float]] = field(default_factory=dict)


def metrics_table(rows: list[Display]) -> Table:
    """A row per display; the train net's outputs are columns where no other has their name."""
    columns = {
        "iteration": [row.iteration for row in rows],
        "loss": [row.loss for row in rows],
        "smoothed_loss": [row.smoothed for row in rows],
        "lr": [row.lr for row in rows],
        "momentum": [row.momentum for row in rows],
        "weight_decay": [row.weight_decay for row in rows],
        "seconds": [row.seconds for row in rows],
    }
    outputs = _outputs([[(n, v) for n, v, _ in _in_order(row.outputs)] for row in rows])
    table = {name: np.array(values, np.float64) for name, values in columns.items()}
    return table | {name: values for name, values in outputs.items() if name not in table}


def tests_table(tests: list[TestRow]) -> Table:
    """A row per test."""
    if not tests:
        return {}
    table = {
        "iteration": np.array([test.iteration for test in tests], np.float64),
        "net": np.array([test.net for test in tests], np.float64),
        "seconds": np.array([test.seconds for test in tests], np.float64),
    }
    outputs = _outputs([_in_order(test.outputs) for test in tests])
    return table | {name: values for name, values in outputs.items() if name not in table}


def timings_table(rows: list[Display | TestRow]) -> Table:
    """Seconds by iteration, of displays and tests together; {} where no line has a time."""
    latest: dict[int, float] = {}
    for row in rows:
        if math.isfinite(row.seconds):
            latest[row.iteration] = max(row.seconds, latest.get(row.iteration, 0.0))
    found = sorted(latest.items())
    if not found:
        return {}
    return {
        "iteration": np.array([at for at, _ in found], np.float64),
        "seconds": np.array([seconds for _, seconds in found], np.float64),
        "test_seconds": np.full(len(found), np.nan),
    }


def _in_order(outputs: Mapping[int, Any]) -> list[Any]:
    return [outputs[number] for number in sorted(outputs)]


def _outputs(rows: list[list[tuple[str, float]]]) -> dict[str, np.ndarray]:
    """A column for each output of any row, nan where a row lacks it."""
    columns: dict[str, np.ndarray] = {}
    for index, row in enumerate(rows):
        names = output_columns([name for name, _ in row])
        for name, (_, value) in zip(names, row, strict=True):
            column = columns.setdefault(name, np.full(len(rows), np.nan))
            column[index] = value
    return columns
