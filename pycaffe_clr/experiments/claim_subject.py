"""The runs that a claim is about, and the numbers that its check reads from them."""

from __future__ import annotations

import dataclasses
import math
from functools import cached_property

import numpy as np

from pycaffe_clr.errors import DataError
from pycaffe_clr.experiments import curves as shapes
from pycaffe_clr.experiments.clues import Clues, read_clues
from pycaffe_clr.experiments.manifest import Setting
from pycaffe_clr.experiments.outcome import runs_that_count
from pycaffe_clr.experiments.statistics import Summary, counted_accuracy, summarize
from pycaffe_clr.experiments.store import Store, StoredRun
from pycaffe_clr.train.result import RunResult


class Subject:
    """The runs of one curve or setting that count, with what the checks read from them."""

    def __init__(self, name: str, setting: Setting, x: str, y: str, store: Store) -> None:
        self.name = name
        self.setting = setting
        self.x = x
        self.y = y
        self.runs = [result for run in runs_that_count(setting, store) if (result := _read(run))]

    @cached_property
    def curves(self) -> list[shapes.Curve]:
        """Of each run that was tested before its loss stopped being a number: the quantity as
        test_loss, an accuracy as one minus it."""
        found = [self._curve(run) for run in self.runs]
        return [curve for curve in found if len(curve) and math.isfinite(curve.test_loss[0])]

    @cached_property
    def mean(self) -> shapes.Curve:
        """The mean of the runs' curves."""
        return shapes.mean_curve(self.curves)

    @cached_property
    def clues(self) -> Clues:
        """What the mean curve shows."""
        return read_clues(self.mean)

    @cached_property
    def lows(self) -> Summary:
        """The lowest point of each run's smoothed curve."""
        return summarize(float(shapes.smoothed(finite(c)).min()) for c in self.curves)

    @cached_property
    def finals(self) -> Summary:
        """The last test of each run, where it has one; a run that diverged counts at chance, its
        loss as infinite."""
        if self.y == "accuracy":
            return summarize(1 - counted_accuracy(run, self.setting.classes) for run in self.runs)
        ends = [math.inf] * sum(run.diverged for run in self.runs)
        for curve in [self._curve(run) for run in self.runs if not run.diverged]:
            ends += [float(value) for value in finite(curve)[-1:] if math.isfinite(value)]
        return summarize(ends)

    def at(self, x: float) -> Summary:
        """The value of each run at x; empty where one does not reach it."""
        known = [(c.x[: len(finite(c))], shapes.smoothed(finite(c))) for c in self.curves]
        if any(not at.min() <= x <= at.max() for at, _ in known):
            return summarize(())
        return summarize(float(np.interp(x, at, values)) for at, values in known)

    def show(self, value: float) -> str:
        """A value of the quantity as people read it."""
        return f"{100 * (1 - value):.2f} %" if self.y == "accuracy" else f"{value:.3f}"

    def _curve(self, run: RunResult) -> shapes.Curve:
        curve = shapes.curve_of(run, shapes.LR if self.x == "lr" else shapes.ITERATION)
        if self.x == "momentum":
            curve = dataclasses.replace(curve, x=run.momentum_at(curve.x), x_name="momentum")
        values = 1 - curve.accuracy if self.y == "accuracy" else getattr(curve, self.y)
        start = curve.start if self.y == "test_loss" else math.nan
        return dataclasses.replace(curve, test_loss=values, start=start)


def _read(run: StoredRun) -> RunResult | None:
    """A run with its tables; None where these are damaged."""
    try:
        result = run.result()
        return result if len(result.tests) and len(result.metrics) else None
    except DataError:
        return None


def finite(curve: shapes.Curve) -> np.ndarray:
    """The quantity up to the first value that is no number."""
    good = np.isfinite(curve.test_loss)
    return curve.test_loss[: len(good) if good.all() else max(1, int(np.argmin(good)))]
