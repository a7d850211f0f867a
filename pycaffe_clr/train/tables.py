"""metrics.csv (a row per iteration) and tests.csv (a row per test), written and read."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from pycaffe_clr.errors import DataError
from pycaffe_clr.train.events import Row, TestResult

METRICS = ("iteration", "loss", "smoothed_loss", "lr", "momentum")


def _cell(value: float) -> str:
    # Nine digits tell every float32 apart.
    return f"{value:.9g}"


def output_columns(names: Sequence[str]) -> list[str]:
    """A column name for each output element: an output with several elements gets numbers."""
    columns = []
    for position, name in enumerate(names):
        if names.count(name) > 1:
            columns.append(f"{name}[{names[:position].count(name)}]")
        else:
            columns.append(name)
    return columns


class TableWriter:
    """Appends rows to a CSV file. No column depends on the clock: equal runs give equal files."""

    def __init__(self, stream: TextIO, columns: Sequence[str], header: bool) -> None:
        self.stream = stream
        self.columns = list(columns)
        if header:
            self._line(self.columns)

    def _line(self, cells: Sequence[str]) -> None:
        text = ",".join(f'"{c}"' if "," in c or '"' in c else c for c in cells)
        try:
            self.stream.write(text + "\n")
        except OSError as error:
            raise DataError(f"{self.stream.name}: cannot be written: {error.strerror}") from error

    def metrics(self, row: Row) -> None:
        """One iteration; the columns are METRICS."""
        values = (row.loss, row.smoothed, row.lr, row.momentum)
        self._line([str(row.iteration), *map(_cell, values)])

    def test(self, result: TestResult) -> None:
        """One test; the columns are iteration, net and the outputs of all test nets."""
        names = output_columns([name for name, _ in result.outputs])
        values = dict(zip(names, (value for _, value in result.outputs), strict=True))
        cells = [_cell(values[c]) if c in values else "" for c in self.columns[2:]]
        self._line([str(result.iteration), str(result.index), *cells])


def read_table(path: str | Path) -> dict[str, np.ndarray]:
    """Columns of a table (NAME.csv or NAME.csv.gz) as float64 arrays; empty cells are nan.

    Raises DataError.
    """
    path = Path(path)
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", newline="", encoding="utf-8") as stream:
            rows: list[list[Any]] = list(csv.reader(stream))
        if len(rows) > 1 and len(rows[-1]) < len(rows[0]):
            rows.pop()  # cut off where a run was killed
        values = [[float(cell) if cell else np.nan for cell in row] for row in rows[1:]]
        array = np.array(values, np.float64).reshape(len(values), len(rows[0]))
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise DataError(f"{path}: cannot be read as a table of numbers: {error}") from error
    return {name: array[:, i] for i, name in enumerate(rows[0])}
