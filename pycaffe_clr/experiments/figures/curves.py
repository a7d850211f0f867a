"""The curves of a panel as arrays: the mean of the runs on disk, their deviation, the author's.

Nothing here is drawn, and nothing made up: a curve without runs has no points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pycaffe_clr.errors import DataError
from pycaffe_clr.experiments.curves import means_between
from pycaffe_clr.experiments.statistics import mean_curve
from pycaffe_clr.train.result import RunResult

if TYPE_CHECKING:
    from pycaffe_clr.experiments.manifest import Curve, Panel, Setting
    from pycaffe_clr.experiments.store import Store

MAX_POINTS = 400
# Caffe caps its softmax loss at -log(FLT_MIN): what its log says of a run that has diverged.
LOSS_CAP = 87.3365
_EMPTY = np.empty(0)
# A run with this part of the iterations was not shortened: logs and protocol round differently.
_WHOLE = 0.98

Points = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Drawn:
    """One curve, ready to be drawn. Accuracies are in percent.

    x, mean, deviation: (points,); deviation is nan where fewer than two runs are. n: runs behind
    it. planned: runs that the protocol asks for. diverged: x of each run that diverged. unfinished:
    iterations made and asked for, where the runs have not ended. author: the author's
    curves. start: x of the snapshot that it goes on from; trunk: what led there, where no other
    curve of the panel shows it. left_out: runs that were shortened or
    cannot be read. extent: of x, as the setting plans it.
    """

    curve: Curve
    y: str
    x: np.ndarray = field(default_factory=lambda: _EMPTY)
    mean: np.ndarray = field(default_factory=lambda: _EMPTY)
    deviation: np.ndarray = field(default_factory=lambda: _EMPTY)
    n: int = 0
    planned: int = 4
    diverged: tuple[float, ...] = ()
    unfinished: tuple[int, int] | None = None
    author: tuple[Points, ...] = ()
    start: float | None = None
    trunk: Points | None = None
    left_out: int = 0
    extent: tuple[float, float] | None = None

    @property
    def others(self) -> list[Points]:
        """What else is drawn: the author's curves, the way to the snapshot."""
        return [*self.author, *([self.trunk] if self.trunk else [])]

    @property
    def missing(self) -> bool:
        """Whether no run of this curve is on disk."""
        return self.n == 0


def thinned(count: int, limit: int = MAX_POINTS) -> np.ndarray:
    """Indices of at most `limit` of `count` points, the first and the last among them."""
    if count <= limit:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, limit).round().astype(int))


def train_loss_at(result: RunResult, iterations: np.ndarray) -> np.ndarray:
    """Training loss at these tests: the mean of what is known since the test before."""
    loss = result.metrics.get("loss", _EMPTY)
    known = np.isfinite(loss)
    return means_between(result.metrics.get("iteration", _EMPTY)[known], loss[known], iterations)


def values_of(result: RunResult, y: str, classes: int) -> Points:
    """Iterations and values of one run.

    y: test_loss, train_loss, accuracy (percent) or generalization (test less training loss). A run
    that diverged goes on to its last iteration as Caffe logs it: accuracy of chance, loss LOSS_CAP.
    """
    test = result.test()
    at = test["iteration"]
    if y == "accuracy":
        values = 100 * test["accuracy"]
    elif y == "test_loss":
        values = test["loss"]
    elif not len(at) and y == "train_loss":
        at = result.metrics.get("iteration", _EMPTY)
        at = at[thinned(len(at))]
        values = train_loss_at(result, at)
    else:
        train = train_loss_at(result, at)
        values = train if y == "train_loss" else test["loss"] - train
    known = np.isfinite(values)
    if not result.diverged:
        return at[known], values[known]
    known &= at <= result.iteration
    at, values = at[known], values[known]
    step = float(np.median(np.diff(at))) if len(at) > 1 else max(result.max_iter / 50, 1)
    start = max(result.iteration, float(at[-1]) if len(at) else 0)
    tail = np.append(np.arange(start, result.max_iter, step), max(result.max_iter, start + 1))
    end = 100 / classes if y == "accuracy" else LOSS_CAP
    return np.concatenate([at, tail]), np.concatenate([values, np.full(len(tail), end)])


class Curves:
    """Finds the runs of curves and averages them; every run is read once.

    settings: of the manifest. authors: reads a packaged log of the author by its name. scale: 1,
    or what shorter runs were scaled by; only runs of that length count.
    """

    def __init__(
        self,
        settings: Mapping[str, Setting],
        store: Store,
        authors: Callable[[str], RunResult],
        scale: float = 1.0,
    ) -> None:
        self.settings = settings
        self.store = store
        self.authors = authors
        self.scale = scale
        self._runs: dict[str, list[RunResult]] = {}
        self._unreadable: dict[str, int] = {}
        self._authors: dict[str, RunResult] = {}

    def runs(self, setting: str) -> list[RunResult]:
        """The protocol's runs of a setting on disk, without the one with the file's fillers."""
        if setting not in self._runs:
            found: list[RunResult] = []
            for run in self.store.counted(setting):
                try:
                    result = run.result()
                    result.test()  # tables are read when they are looked at
                except DataError:
                    self._unreadable[setting] = self._unreadable.get(setting, 0) + 1
                else:
                    found.append(result)
            self._runs[setting] = found
        return self._runs[setting]

    def panel(self, panel: Panel) -> list[Drawn]:
        """All curves of a panel, in the report's order."""
        return [self.drawn(panel, curve) for curve in panel.curves]

    def drawn(self, panel: Panel, curve: Curve) -> Drawn:
        """One curve of a panel."""
        y = curve.y
        setting = self.settings[curve.setting]
        author = self._author(panel.x, curve, setting)
        extent = self._extent(panel.x, setting)
        planned = len(setting.counted)
        runs = self.runs(curve.setting)
        whole = [r for r in runs if self._is_asked_for(r, setting)]
        left_out = len(runs) - len(whole) + self._unreadable.get(curve.setting, 0)
        # Runs on their way say less than runs that are through; without any of those they show.
        used = [r for r in whole if r.final] or whole
        classes = setting.classes
        band = mean_curve([values_of(r, y, classes) for r in used])
        at = band.x
        # The spread between a loss and the cap of those that diverged says nothing.
        deviation = (
            np.where(band.sd < LOSS_CAP / 10, band.sd, np.nan) if y != "accuracy" else band.sd
        )
        if not len(at):
            return Drawn(
                curve,
                y,
                planned=planned,
                author=author,
                left_out=left_out,
                extent=extent,
            )
        x = _axis(panel.x, at, used)
        kept = np.flatnonzero(np.isfinite(x))
        kept = kept[thinned(len(kept))]
        first = used[0]
        start, trunk = self._trunk(panel, y, setting)
        return Drawn(
            curve=curve,
            y=y,
            x=x[kept],
            mean=band.mean[kept],
            deviation=deviation[kept],
            n=len(used),
            planned=planned,
            diverged=tuple(_end(panel.x, run) for run in used if run.diverged),
            unfinished=None if first.final else (max(r.iteration for r in used), first.max_iter),
            author=author,
            start=start,
            trunk=trunk,
            left_out=left_out,
            extent=extent,
        )

    def _extent(self, x: str, setting: Setting) -> tuple[float, float]:
        if x == "iteration":
            return 0.0, setting.max_iter * self.scale
        values = setting.lr if x == "lr" else setting.momentum
        return min(values), max(values)

    def _is_asked_for(self, result: RunResult, setting: Setting) -> bool:
        """Whether a run is of this scale, and not shortened in another way."""
        scaled = result.record.get("labels", {}).get("scaled")
        if self.scale != 1:
            return bool(scaled == f"{self.scale:g}")
        # Packed and older runs may not say how many iterations they were to make.
        known = result.max_iter or setting.max_iter
        return scaled is None and known >= _WHOLE * setting.max_iter

    def _trunk(self, panel: Panel, y: str, setting: Setting) -> tuple[float | None, Points | None]:
        """x of the snapshot that a setting goes on from, and the curve up to there."""
        if setting.start is None:
            return None, None
        parent, iteration = setting.start
        runs = self.runs(parent)
        band = mean_curve([values_of(r, y, setting.classes) for r in runs])
        kept = np.flatnonzero(band.x <= iteration * self.scale)
        if not len(kept):
            return None, None
        kept = kept[thinned(len(kept))]
        x = _axis(panel.x, band.x[kept], runs)
        start = float(_axis(panel.x, np.array([iteration * self.scale]), runs)[0])
        if any(curve.setting == parent for curve in panel.curves):
            return start, None
        return start, (x, band.mean[kept])

    def _author(self, x: str, curve: Curve, setting: Setting) -> tuple[Points, ...]:
        found = []
        for name in curve.author:
            if name not in self._authors:
                self._authors[name] = self.authors(name)
            result = self._authors[name]
            # His diverged runs went on to the end in his log: no tail to add.
            at, values = values_of(result, curve.y, 0)
            # A log may go on for longer than what a figure shows of it.
            shown = at <= setting.max_iter
            at, values = at[shown], values[shown]
            where = _axis(x, at, [result])
            kept = np.flatnonzero(np.isfinite(where))
            kept = kept[thinned(len(kept))]
            if len(kept):
                found.append((where[kept], values[kept]))
        return tuple(found)


def _end(x: str, run: RunResult) -> float:
    """x of a run's last iteration."""
    return float(_axis(x, np.array([run.iteration - 1]), [run])[0])


def _axis(x: str, iterations: np.ndarray, runs: Sequence[RunResult]) -> np.ndarray:
    """Iterations as values of the x axis; nan where the schedule is not known there."""
    if x == "iteration":
        return iterations.astype(float)
    column = "lr" if x == "lr" else "momentum"
    longest = max(runs, key=lambda run: run.iteration)
    known = longest.metrics.get("iteration", _EMPTY)
    if not len(known):
        return np.full(len(iterations), math.nan)
    values = np.interp(iterations, known, longest.metrics[column])
    # One test comes after the last update; beyond that nothing was logged.
    slack = max(np.median(np.diff(known)), 1) if len(known) > 1 else 1
    return np.where(iterations <= known[-1] + slack, values, np.nan)
