"""What came out of a run: the same object for a run made here, a run's folder and a Caffe log.

Needs no compiled code: tables and figures are drawn from it on machines that cannot train.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pycaffe_clr.errors import DataError
from pycaffe_clr.train.lock import is_locked
from pycaffe_clr.train.tables import read_table

Table = Mapping[str, np.ndarray]

# What a folder's files are called; a packed folder holds them compressed (NAME.gz).
RECORD, METRICS, TESTS, LOG = "run.json", "metrics.csv", "tests.csv", "train.log"
# States of a run. "ended early" was asked for by a callback and is as final as "finished".
FINAL_STATES = ("finished", "ended early", "diverged")


def is_accuracy(name: str) -> bool:
    """Whether an output of a test net is an accuracy, by its name: accuracy, Accuracy, top-5."""
    return re.search(r"acc|top[-_]?[0-9]", name.lower()) is not None


def is_loss(name: str) -> bool:
    """Whether an output of a net is a loss, by its name."""
    return "loss" in name.lower()


@dataclass(frozen=True)
class RunResult:
    """A run, whole or as far as it got.

    name: of its solver. state: "finished", "ended early" (a callback asked for it), "diverged",
    "stopped", "failed", "killed" (its process is gone), "running", "starting"; "log" where only a
    log is known. reason: why, in words. path: the run's folder, or the log. iteration: updates
    made. max_iter: updates asked for. batch: samples of one update, 0 where not known. metrics: by
    iteration: `iteration`, `loss`, `smoothed_loss`, `lr`, `momentum` (of a log, and of a packed
    run: not every iteration). tests: `iteration`, `net` and a column for each output. record: what
    run.json holds, or what the head of a log says.
    """

    name: str
    state: str
    reason: str
    path: Path
    iteration: int
    max_iter: int
    batch: int
    metrics: Table = field(repr=False)
    tests: Table = field(repr=False)
    record: Mapping[str, Any] = field(repr=False, default_factory=dict)

    @property
    def diverged(self) -> bool:
        """Whether the loss stopped being a number, at `iteration`."""
        return self.state == "diverged"

    @property
    def final(self) -> bool:
        """Whether there is nothing to go on with: finished, ended early or diverged."""
        return self.state in FINAL_STATES

    def test(self, net: int = 0) -> Table:
        """The tests of one net: `iteration`, `accuracy`, `loss`, and all outputs by their names.

        accuracy: the first output that is one by its name, as a fraction; loss: likewise. Columns
        of nan where the net has none.
        """
        if "iteration" not in self.tests:
            empty = np.empty(0)
            return {"iteration": empty, "accuracy": empty, "loss": empty}
        rows = self.tests["net"] == net
        found = {name: column[rows] for name, column in self.tests.items()}
        for key, belongs in (("accuracy", is_accuracy), ("loss", is_loss)):
            names = [n for n in found if n not in ("iteration", "net") and belongs(n)]
            # A name that is the key itself wins over one that only contains it.
            column = found[key if key in names else names[0]] if names else None
            found[key] = np.full(rows.sum(), np.nan) if column is None else column
        return found

    def last_test(self, key: str = "accuracy", net: int = 0) -> float:
        """Value of the last logged test, as the report's author took it; nan without one."""
        values = self.test(net)[key]
        return float(values[-1]) if len(values) else math.nan

    @property
    def final_accuracy(self) -> float:
        """Accuracy of the last logged test, a fraction: what the report calls final accuracy."""
        return self.last_test("accuracy")

    @property
    def final_loss(self) -> float:
        """Loss of the last logged test."""
        return self.last_test("loss")

    @property
    def best_accuracy(self) -> float:
        """The best of all logged tests, a fraction; nan without one."""
        values = self.test()["accuracy"]
        return float(np.nanmax(values)) if np.isfinite(values).any() else math.nan

    def whole_test(self, key: str = "accuracy", net: int = 0) -> float:
        """`accuracy` or `loss` on the whole test set after training; nan where not measured."""
        belongs = is_accuracy if key == "accuracy" else is_loss
        for entry in self.record.get("tests", ()):
            if entry.get("net") == net and "whole" in entry:
                outputs = entry["whole"]["outputs"]
                return next((float(v) for n, v in outputs.items() if belongs(n)), math.nan)
        return math.nan

    @property
    def whole_accuracy(self) -> float:
        """Accuracy on the whole test set after training, a fraction; nan where not measured."""
        return self.whole_test("accuracy")

    def lr_at(self, iterations: np.ndarray) -> np.ndarray:
        """Learning rate at these iterations, linear between those that are known."""
        return np.interp(iterations, self.metrics["iteration"], self.metrics["lr"])

    def momentum_at(self, iterations: np.ndarray) -> np.ndarray:
        """Momentum at these iterations, linear between those that are known."""
        return np.interp(iterations, self.metrics["iteration"], self.metrics["momentum"])


def read_run(folder: str | Path) -> RunResult:
    """Read the folder of a run, also while it runs, after it was killed, or packed.

    Raises DataError where no run lies there, or its files cannot be read.
    """
    folder = Path(folder)
    record = read_record(folder)
    metrics = table_of(folder, METRICS)
    tests = table_of(folder, TESTS)
    last = metrics.get("iteration", np.empty(0))
    reached = int(last[-1]) + 1 if len(last) else 0
    return RunResult(
        name=str(record.get("name", folder.name)),
        state=run_state(folder, record),
        reason=str(record.get("reason", "")),
        path=folder,
        iteration=int(record.get("iteration", reached)),
        max_iter=int(record.get("max_iter", 0)),
        batch=int(record.get("batch", 0)),
        metrics=metrics,
        tests=tests,
        record=record,
    )


def read_record(folder: Path) -> dict[str, Any]:
    """run.json of a run's folder. Raises DataError."""
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{folder}: no run lies there (no {RECORD})") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / RECORD}: cannot be read: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("state"), str):
        raise DataError(f"{folder / RECORD}: is not the record of a run")
    return found


def run_state(folder: Path, record: Mapping[str, Any]) -> str:
    """State of the run in a folder: "killed" where its record says "running" and no process does.

    record: what its run.json holds.
    """
    state = str(record["state"])
    # A process that was killed outright could not say so.
    if state in ("running", "starting") and is_locked(folder) is False:
        return "killed"
    return state


def table_of(folder: Path, name: str) -> Table:
    """A table of a run's folder, packed or not; {} where it is not there. Raises DataError."""
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.is_file():
            return read_table(candidate)
    return {}
