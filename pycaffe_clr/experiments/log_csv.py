"""The tables that Caffe's parse_log.py makes of a log."""

from __future__ import annotations

import csv
import io
import math
from bisect import bisect_right
from collections.abc import Sequence

from pycaffe_clr.experiments.log_rows import Display, TestRow

Row = dict[str, float]


def train_rows(displays: Sequence[Display]) -> list[Row]:
    """A row for each display: the train net's outputs.

    LearningRate is that of the row's own iteration, which parse_log.py takes from the display
    before.
    """
    rows = [_row(each.iteration, each.seconds, each.lr) for each in displays]
    for row, display in zip(rows, displays, strict=True):
        row |= {name: value for _, (name, value, _) in sorted(display.outputs.items())}
    return [row for row, display in zip(rows, displays, strict=True) if display.outputs]


def test_rows(tests: Sequence[TestRow], displays: Sequence[Display]) -> list[Row]:
    """A row for each test, with the rate that was last shown; of several test nets with `Net`."""
    several = len({test.net for test in tests}) > 1
    rated = [each for each in displays if not math.isnan(each.lr)]
    iterations = [each.iteration for each in rated]
    rows = []
    for test in tests:
        # The first test comes before anything is shown: then the first rate that is.
        place = max(bisect_right(iterations, test.iteration) - 1, 0)
        row = _row(test.iteration, test.seconds, rated[place].lr if rated else math.nan)
        if several:
            row["Net"] = test.net
        rows.append(row | {name: value for _, (name, value) in sorted(test.outputs.items())})
    return rows


def _row(iteration: int, seconds: float, lr: float) -> Row:
    return {"NumIters": float(iteration), "Seconds": seconds, "LearningRate": lr}


def csv_text(rows: Sequence[Row], delimiter: str) -> str:
    """Rows as CSV; a column for everything that any of them has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
