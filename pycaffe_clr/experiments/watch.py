"""The callback of every short run: equal tests, and an early end of what has clearly diverged."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pycaffe_clr.errors import DataError
from pycaffe_clr.experiments.clues import diverged_for_good
from pycaffe_clr.experiments.curves import ITERATION, Curve, curve, means_between
from pycaffe_clr.train import positions
from pycaffe_clr.train.events import Row, TestResult
from pycaffe_clr.train.result import RunResult, is_loss, read_run

if TYPE_CHECKING:
    from pycaffe_clr.train.events import Run
    from pycaffe_clr.train.session import Session


class Watch:
    """A callback of every trial: equal tests, and an early end of what has clearly diverged.

    Each test begins at record 0 of its database, where Caffe's would go on from the one before: a
    test of a part of the images then differs from the one before by the training alone, and those
    of two runs by their settings. diverged_for_good says when a run ends. folder: of the run; what
    was tested there before it was resumed counts.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.steps: list[int] = []
        self.losses: list[float] = []
        self.at: list[int] = []
        self.tests: list[float] = []
        # Set by the first event, `started`.
        self._session: Session
        if folder is not None:
            with contextlib.suppress(DataError):
                self._recall(read_run(folder))

    def _recall(self, run: RunResult) -> None:
        tests = run.test()
        self.steps = [int(i) for i in run.metrics.get("iteration", ())]
        self.losses = [float(v) for v in run.metrics.get("loss", ())]
        self.at, self.tests = [int(i) for i in tests["iteration"]], list(tests["loss"])

    def started(self, run: Run) -> None:
        """Keep the session, whose test nets are set back."""
        self._session = run.session

    def testing(self) -> None:
        """Set the test nets back to the first record."""
        session = self._session
        for test in session.tests:
            positions.seek(test.net, test.feeds, 0)

    def rows(self, rows: Sequence[Row]) -> None:
        """Keep the training losses."""
        for row in rows:
            self._cut(row.iteration)
            self.steps.append(row.iteration)
            self.losses.append(row.loss)

    def tested(self, result: TestResult) -> str | None:
        """Ask to stop where the last tests leave no doubt."""
        if result.index:
            return None
        while self.at and self.at[-1] >= result.iteration:
            self.at.pop()
            self.tests.pop()
        self.at.append(result.iteration)
        losses = [value for name, value in result.outputs if is_loss(name)]
        self.tests.append(losses[0] if losses else math.nan)
        seen = self.seen()
        return "stop: diverged" if seen is not None and diverged_for_good(seen) else None

    def seen(self) -> Curve | None:
        """The tests so far, over the iterations; None before anything was trained."""
        if not self.losses or not self.tests:
            return None
        train = means_between(
            np.array(self.steps), np.array(self.losses), np.array(self.at, np.float64)
        )
        start = self.losses[0] if self.steps[0] == 0 else math.nan
        return curve(self.at, self.tests, train, x_name=ITERATION, start=start)

    def _cut(self, iteration: int) -> None:
        """A resumed run repeats what came after its checkpoint."""
        while self.steps and self.steps[-1] >= iteration:
            self.steps.pop()
            self.losses.pop()
