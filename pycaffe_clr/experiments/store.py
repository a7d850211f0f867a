"""Where the runs of settings lie: ROOT/<setting>/run1 ... run4 (and file), over several roots.

A root holds folders that `run` writes, or packed ones (see pack). Nothing is read before it is
asked for, and the tables of a run only where its record does not say enough.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pycaffe_clr.errors import DataError
from pycaffe_clr.train.result import (
    FINAL_STATES,
    METRICS,
    RECORD,
    TESTS,
    RunResult,
    Table,
    is_accuracy,
    measured,
    read_record,
    read_run,
    run_state,
    table_of,
)

RUNS, RESULTS = Path("runs/report"), Path("solvers/results")
# The extra run with the fillers of the net's file; it counts in no mean.
FILE = "file"


def default_roots() -> list[Path]:
    """The roots that are there: ./runs/report, ./solvers/results, the source tree's results."""
    source = Path(__file__).resolve().parents[2] / RESULTS
    roots: list[Path] = []
    for root in (RUNS, RESULTS, source):
        if root.is_dir() and not any(root.samefile(other) for other in roots):
            roots.append(root)
    return roots


class StoredRun:
    """One run on disk. setting, plan: its folder's parent and own name: `run1` ..., `file`."""

    def __init__(self, setting: str, plan: str, folder: Path) -> None:
        self.setting = setting
        self.plan = plan
        self.folder = folder
        self._result: RunResult | None = None

    def __repr__(self) -> str:
        return f"StoredRun({self.setting}/{self.plan} in {self.folder})"

    @cached_property
    def record(self) -> Mapping[str, Any]:
        """run.json. Raises DataError."""
        return read_record(self.folder)

    @cached_property
    def state(self) -> str:
        """As RunResult's: "killed" where the record says "running" but no process holds the run;
        "unreadable" where there is no telling."""
        try:
            return run_state(self.folder, self.record)
        except DataError:
            return "unreadable"

    @property
    def packed(self) -> bool:
        """Whether it lies here as small files. Raises DataError."""
        return "packed" in self.record

    @property
    def scaled(self) -> str | None:
        """The scale of a run that was made small, to try things; None for one in full: only those
        may stand in tables and figures of the report. Raises DataError."""
        scale = self.record.get("labels", {}).get("scaled")
        return None if scale is None else str(scale)

    @property
    def final(self) -> bool:
        """Whether there is nothing to go on with: finished, ended early or diverged."""
        return self.state in FINAL_STATES

    @property
    def diverged(self) -> bool:
        """Whether its loss stopped being a number."""
        return self.state == "diverged"

    @property
    def max_iter(self) -> int:
        """Updates asked for. Raises DataError."""
        return int(self.record.get("max_iter", 0))

    @property
    def iteration(self) -> int:
        """Updates made, as far as they are on disk. Raises DataError."""
        if self.state in ("running", "starting", "killed") or "iteration" not in self.record:
            return _last_iteration(self.folder / METRICS) + 1
        return int(self.record["iteration"])

    def result(self) -> RunResult:
        """The run with its tables, read once. Raises DataError."""
        if self._result is None:
            self._result = read_run(self.folder)
        return self._result

    def tests(self) -> Table:
        """The table of tests alone. Raises DataError."""
        return self._result.tests if self._result else table_of(self.folder, TESTS)

    @cached_property
    def final_accuracy(self) -> float:
        """Accuracy of the last logged test, a fraction; nan without one. Raises DataError."""
        for entry in self.record.get("tests", ()):
            # The record alone does not tell whether the loss of a diverged run was a number.
            if entry.get("net") == 0 and "last" in entry and not self.diverged:
                return _accuracy(entry["last"]["outputs"])
        tests = measured(self.tests())
        rows = np.flatnonzero(tests["net"] == 0) if "net" in tests else np.empty(0, int)
        if not len(rows):
            return math.nan
        return _accuracy({name: column[rows[-1]] for name, column in tests.items()})

    @property
    def whole_accuracy(self) -> float:
        """Accuracy on the whole test set after training, a fraction; nan where not measured."""
        for entry in self.record.get("tests", ()):
            if entry.get("net") == 0 and "whole" in entry:
                return _accuracy(entry["whole"]["outputs"])
        return math.nan


def _last_iteration(metrics: Path) -> int:
    """The first cell of the last whole line of a growing table; -1 where there is none."""
    try:
        with metrics.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - 4096))
            lines = stream.read().split(b"\n")[:-1]
        return int(lines[-1].split(b",")[0])
    except (OSError, ValueError, IndexError):
        return -1


def _accuracy(outputs: Mapping[str, float]) -> float:
    if "accuracy" in outputs:
        return float(outputs["accuracy"])
    return next((float(value) for name, value in outputs.items() if is_accuracy(name)), math.nan)


class Store:
    """The runs under several roots. Of a run that lies under more than one, the first that is
    through counts, or the first where none is: running folders come before packed ones."""

    def __init__(self, roots: Iterable[str | Path] | None = None) -> None:
        self.roots = [Path(root) for root in (default_roots() if roots is None else roots)]
        self._runs: dict[str, list[StoredRun]] = {}

    def settings(self) -> list[str]:
        """Names of all settings with a run, sorted."""
        names = {name for root in self.roots for name in _folders(root)}
        return [name for name in sorted(names) if self.runs(name)]

    def runs(self, setting: str) -> list[StoredRun]:
        """The runs of a setting: run1, run2, ... in order, then others by name.

        Raises DataError where a folder cannot be listed.
        """
        if setting not in self._runs:
            found: dict[str, StoredRun] = {}
            for root in self.roots:
                for plan in _folders(root / setting):
                    folder = root / setting / plan
                    if not (folder / RECORD).is_file():
                        continue
                    run = StoredRun(setting, plan, folder)
                    if plan not in found or (run.final and not found[plan].final):
                        found[plan] = run
            self._runs[setting] = [found[plan] for plan in sorted(found, key=_order)]
        return self._runs[setting]

    def counted(self, setting: str) -> list[StoredRun]:
        """The runs that a mean may count: run1, run2, ..., without the file's fillers."""
        return [run for run in self.runs(setting) if is_counted(run.plan)]

    def run(self, setting: str, plan: str) -> StoredRun | None:
        """One run, or None where it has not been begun."""
        return next((run for run in self.runs(setting) if run.plan == plan), None)


def open_store(folders: Sequence[Path] | None) -> Store:
    """The store of these folders, or of the default ones. Raises DataError where one is missing,
    or is not a root but a folder within one."""
    wanted = "expected one that holds <setting>/run1 ..."
    for folder in folders or ():
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; {wanted}")
        if (folder / RECORD).is_file():
            raise DataError(f"{folder}: is the folder of a run; {wanted}")
        if (folder / "run1" / RECORD).is_file():
            raise DataError(f"{folder}: is the folder of one setting; {wanted}")
    return Store(folders)


def is_counted(plan: str) -> bool:
    """Whether a run of this name is one of the protocol's: run1, run2, ..."""
    return re.fullmatch(r"run\d+", plan) is not None


def _order(plan: str) -> tuple[bool, int, str]:
    number = int(plan[3:]) if is_counted(plan) else 0
    return (not is_counted(plan), number, plan)


def _folders(parent: Path) -> Sequence[str]:
    try:
        with os.scandir(parent) as entries:
            return [entry.name for entry in entries if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise DataError(f"{parent}: cannot be read: {error.strerror}") from error
