"""What came out of a run: the same object for a run made here, a run's folder and a Caffe log.

Needs no compiled code: tables and figures are drawn from it on machines that cannot train.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pycaffe_clr.train.lock import is_locked
from pycaffe_clr.train.record import RECORD as RECORD
from pycaffe_clr.train.record import read_record as read_record
from pycaffe_clr.train.tables import LazyTable, read_table

Table = Mapping[str, np.ndarray]

# What a folder's files are called beside its record; a packed folder holds them compressed
# (NAME.gz).
METRICS, TESTS, TIMINGS, LOG = "metrics.csv", "tests.csv", "timings.csv", "train.log"
# States of a run. "ended early" was asked for by a callback and is as final as "finished".
FINAL_STATES = ("finished", "ended early", "diverged")
# Those whose run.json tells how far the run came.
ENDED_STATES = (*FINAL_STATES, "stopped", "failed")


def is_accuracy(name: str) -> bool:
    """Whether an output of a test net is an accuracy, by its name: accuracy, Accuracy, top-5; or,
    as SSD's nets have it, detection_eval, mAP."""
    return re.search(r"acc|top[-_]?[0-9]|detection_eval|^map$", name.lower()) is not None


def is_loss(name: str) -> bool:
    """Whether an output of a net is a loss, by its name."""
    return "loss" in name.lower()


def measured(tests: Table) -> Table:
    """A table of tests whose accuracies are nan where they are 1 and no loss is a number.

    Caffe counts outputs that are no numbers as right: it logs 1 for a net that has diverged.
    """
    losses = [column for name, column in tests.items() if is_loss(name)]
    lost = np.all(np.isnan(losses), axis=0) if losses else np.empty(0, bool)
    if not lost.any():
        return tests
    return {
        name: np.where(lost & (column == 1), np.nan, column) if is_accuracy(name) else column
        for name, column in tests.items()
    }


@dataclass(frozen=True)
class RunResult:
    """A run, whole or as far as it got.

    name: of its solver. state: "finished", "ended early" (a callback asked for it), "diverged",
    "stopped", "failed", "killed" (its process is gone), "running", "starting"; "log" where only a
    log is known. reason: why, in words. path: the run's folder, or the log. iteration: updates
    made. max_iter: updates asked for. batch: samples of one update, 0 where not known. metrics: by
    iteration: `iteration`, `loss`, `smoothed_loss`, `lr`, `momentum` (of a log, and of a packed
    run: not every iteration). tests: `iteration`, `net` and a column for each output. record: what
    run.json holds, or what the head of a log says. timings: `iteration` (updates made), `seconds`
    of training until then, tests included, and `test_seconds`, over all resumes; {}: not known.
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
    timings: Table = field(repr=False, default_factory=dict)

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
        of nan where the net has none; see also measured.
        """
        if "iteration" not in self.tests:
            empty = np.empty(0)
            return {"iteration": empty, "accuracy": empty, "loss": empty}
        rows = self.tests["net"] == net
        found = {name: column[rows] for name, column in measured(self.tests).items()}
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

    @property
    def images(self) -> int:
        """Records of the training set; 0 where not known."""
        return int(self.record.get("images") or 0)

    @property
    def epochs(self) -> float:
        """Epochs trained; nan where the training set is not known."""
        return float(self.epochs_at(np.array([self.iteration]))[0])

    @property
    def seconds(self) -> float:
        """Seconds of training, tests included, over all resumes; nan where not known."""
        found = self.record.get("seconds")
        if found is None and len(self.timings.get("seconds", ())):
            found = self.timings["seconds"][-1]
        return math.nan if found is None else float(found)

    @property
    def images_per_second(self) -> float:
        """Samples trained on in a second, tests left out; nan where not known."""
        return float(self.record.get("images_per_second", math.nan))

    @property
    def train_loss(self) -> float:
        """The last smoothed training loss; nan without one."""
        loss = self.metrics.get("smoothed_loss", np.empty(0))
        return float(loss[-1]) if len(loss) else math.nan

    @property
    def weights(self) -> Path | None:
        """The last snapshot's weights in the run's folder; None without one."""
        found = [*self.path.glob("*_iter_*.caffemodel"), *self.path.glob("*_iter_*.caffemodel.h5")]
        numbers = {path: re.search(r"_iter_(\d+)\.caffemodel", path.name) for path in found}
        return max(found, key=lambda p: int(m[1]) if (m := numbers[p]) else -1, default=None)

    @property
    def log(self) -> Path:
        """The log of the run."""
        return self.path / LOG if self.path.is_dir() else self.path

    def epochs_at(self, iterations: np.ndarray) -> np.ndarray:
        """Epochs after so many updates; nan where the training set is not known."""
        if not self.images or not self.batch:
            return np.full(np.shape(iterations), np.nan)
        epochs: np.ndarray = np.asarray(iterations) * (self.batch / self.images)
        return epochs

    def seconds_at(self, iterations: np.ndarray) -> np.ndarray:
        """Seconds of training until these updates, linear between those that are known; or nan."""
        if not len(self.timings.get("iteration", ())):
            return np.full(np.shape(iterations), np.nan)
        return np.asarray(np.interp(iterations, self.timings["iteration"], self.timings["seconds"]))

    def lr_at(self, iterations: np.ndarray) -> np.ndarray:
        """Learning rate at these iterations, linear between those that are known."""
        return np.asarray(np.interp(iterations, self.metrics["iteration"], self.metrics["lr"]))

    def momentum_at(self, iterations: np.ndarray) -> np.ndarray:
        """Momentum at these iterations, linear between those that are known."""
        momentum = np.interp(iterations, self.metrics["iteration"], self.metrics["momentum"])
        return np.asarray(momentum)


def read_run(folder: str | Path) -> RunResult:
    """Read the folder of a run, also while it runs, after it was killed, or packed.

    Its tables are read when they are first looked at. Raises DataError where no run lies there, or
    its files cannot be read.
    """
    folder = Path(folder)
    record = read_record(folder)
    state = run_state(folder, record)
    if state == "killed":
        # It may have ended between the two looks.
        record = read_record(folder)
        state = run_state(folder, record)
    metrics = _lazy_table(folder, METRICS)
    iteration = record.get("iteration")
    if iteration is None or state not in ENDED_STATES:
        last = metrics.get("iteration", np.empty(0))
        iteration = int(last[-1]) + 1 if len(last) else 0
    return RunResult(
        name=str(record.get("name", folder.name)),
        state=state,
        reason=str(record.get("reason", "")),
        path=folder,
        iteration=int(iteration),
        max_iter=int(record.get("max_iter", 0)),
        batch=int(record.get("batch") or 0),
        metrics=metrics,
        tests=_lazy_table(folder, TESTS),
        record=record,
        timings=_lazy_table(folder, TIMINGS),
    )


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
    path = _table_file(folder, name)
    return {} if path is None else read_table(path)


def _lazy_table(folder: Path, name: str) -> Table:
    path = _table_file(folder, name)
    return {} if path is None else LazyTable(path)


def _table_file(folder: Path, name: str) -> Path | None:
    candidates = (folder / name, folder / f"{name}.gz")
    return next((path for path in candidates if path.is_file()), None)
