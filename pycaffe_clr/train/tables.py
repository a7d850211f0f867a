"""A run's tables, written and read.

metrics.csv has a row per iteration, tests.csv one per test, timings.csv one per display and test.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

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
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
        # A last line without an end was cut off, maybe within a number, where a run was killed.
        head, _, body = text[: text.rfind("\n") + 1].replace("\r\n", "\n").partition("\n")
        names = next(csv.reader([head]))
        array = _numbers(body, len(names))
    except (OSError, EOFError, ValueError, StopIteration, zlib.error) as error:
        raise DataError(f"{path}: cannot be read as a table of numbers: {error}") from error
    return {name: array[:, i] for i, name in enumerate(names)}


def _numbers(body: str, columns: int) -> np.ndarray:
    """(rows, columns) of the lines below a table's head. Raises ValueError."""
    if body and ",," not in body and ",\n" not in body and "\n," not in body:
        array = np.loadtxt(io.StringIO(body), delimiter=",", comments=None, ndmin=2)
    else:
        rows = csv.reader(body.splitlines())
        array = np.array([[float(c) if c else np.nan for c in row] for row in rows], np.float64)
        array = array.reshape(len(array), columns)
    if array.shape[1] != columns:
        raise ValueError(f"the head has {columns} columns, the rows {array.shape[1]}")
    return array


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
