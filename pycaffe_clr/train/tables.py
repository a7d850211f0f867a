"""A run's tables, written and read.

metrics.csv has a row per iteration, tests.csv one per test, timings.csv one per display and test.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from pycaffe_clr.errors import DataError
from pycaffe_clr.train.events import Row, TestResult

METRICS = ("iteration", "loss", "smoothed_loss", "lr", "momentum")
TIMINGS = ("iteration", "seconds", "test_seconds")


def cell(value: float) -> str:
    """A number as the tables have it: nine digits, which tell every float32 apart."""
    return f"{value:.9g}"


def csv_line(cells: Sequence[str]) -> str:
    """A line of a table, with its end."""
    return ",".join(f'"{c}"' if "," in c or '"' in c else c for c in cells) + "\n"


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
    """Appends rows to a CSV file.

    But in timings.csv no column depends on the clock: equal runs give equal files.
    """

    def __init__(self, stream: TextIO, columns: Sequence[str], header: bool) -> None:
        self.stream = stream
        self.columns = list(columns)
        if header:
            self._line(self.columns)

    def _line(self, cells: Sequence[str]) -> None:
        try:
            self.stream.write(csv_line(cells))
        except OSError as error:
            raise DataError(f"{self.stream.name}: cannot be written: {error.strerror}") from error

    def metrics(self, row: Row) -> None:
        """One iteration; the columns are METRICS."""
        values = (row.loss, row.smoothed, row.lr, row.momentum)
        self._line([str(row.iteration), *map(cell, values)])

    def test(self, result: TestResult) -> None:
        """One test; the columns are iteration, net and the outputs of all test nets."""
        names = output_columns([name for name, _ in result.outputs])
        values = dict(zip(names, (value for _, value in result.outputs), strict=True))
        cells = [cell(values[c]) if c in values else "" for c in self.columns[2:]]
        self._line([str(result.iteration), str(result.index), *cells])

    def timing(self, iteration: int, seconds: float, test_seconds: float) -> None:
        """What the clock says once `iteration` updates are made; the columns are TIMINGS."""
        self._line([str(iteration), f"{seconds:.6f}", f"{test_seconds:.6f}"])


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


class LazyTable(Mapping[str, np.ndarray]):
    """The columns of a table's file, which is read when it is first looked at: DataError then."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._columns: dict[str, np.ndarray] | None = None

    def _read(self) -> dict[str, np.ndarray]:
        if self._columns is None:
            self._columns = read_table(self.path)
        return self._columns

    def __getitem__(self, name: str) -> np.ndarray:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return f"LazyTable({self.path})"
