"""Groups of runs side by side: final accuracy with a test, time to an accuracy, curves apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.experiments.figures.curves import values_of
from pycaffe_clr.experiments.groups import Group
from pycaffe_clr.experiments.statistics import (
    Band,
    Comparison,
    Summary,
    counted_accuracy,
    mean_curve,
    summarize,
    welch,
)
from pycaffe_clr.train.result import RunResult

YS = {"accuracy": "test accuracy (%)", "test_loss": "test loss", "train_loss": "training loss",
      "lr": "learning rate", "momentum": "momentum"}  # fmt: skip
XS = {"iteration": "iteration", "epoch": "epoch", "lr": "learning rate", "seconds": "seconds"}
# Where no level is asked for: the error is so many times that of the group that ends worst.
_ERRORS = (4.0, 2.0, 1.1)


# --- curves ---------------------------------------------------------------------------------------


def band_of(group: Group, y: str) -> Band:
    """Mean and deviation of a group's curves over iterations; accuracies in percent.

    A run that diverged goes on at chance; where the number of classes is not known, and of losses,
    it is left out.
    """
    if y in ("lr", "momentum"):
        runs = [run for run in group.runs if len(run.metrics.get(y, ()))]
        return mean_curve([(run.metrics["iteration"], run.metrics[y]) for run in runs])
    counted = y == "accuracy" and group.classes > 0
    runs = [run for run in group.runs if counted or not run.diverged]
    return mean_curve([_values_of(run, y, group.classes) for run in runs])


def _values_of(run: RunResult, y: str, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """As values_of; but the training loss of a log is what it shows, where it shows it."""
    if y == "train_loss" and run.state == "log":
        loss = run.metrics.get("smoothed_loss", np.empty(0))
        if np.isfinite(loss).any():
            return run.metrics["iteration"], loss
    return values_of(run, y, classes)


def along(group: Group, x: str, iterations: np.ndarray, images: int = 0) -> np.ndarray:
    """A group's iterations as values of an axis: epochs, learning rate, seconds of training.

    The mean over its runs. images: of the training set, where the runs do not know it. Raises
    ConfigError where the group does not know what is asked for.
    """
    if x == "iteration":
        return iterations
    rows = np.array([_along(run, x, iterations, images or group.images) for run in group.runs])
    known = np.isfinite(rows).any(axis=0)
    if not known.any():
        hint = "give --images N" if x == "epoch" and group.runs[0].batch else "take --x iteration"
        raise ConfigError(f"{group.label}: its runs do not say the {XS[x]} of an iteration; {hint}")
    return np.where(known, np.nansum(rows, axis=0) / np.maximum(np.isfinite(rows).sum(axis=0), 1),
                    np.nan)  # fmt: skip


def _along(run: RunResult, x: str, iterations: np.ndarray, images: int) -> np.ndarray:
    unknown = np.full(len(iterations), np.nan)
    if x == "epoch":
        return iterations * (run.batch / images) if run.batch and images else unknown
    if x == "seconds":
        return run.seconds_at(iterations)
    return run.lr_at(iterations) if len(run.metrics.get("lr", ())) else unknown


# --- numbers --------------------------------------------------------------------------------------


def accuracy_of(group: Group) -> Summary:
    """The accuracies of a group's last logged tests, in percent.

    A run that diverged counts at chance; where the number of classes is not known it is left out.
    """
    runs = [run for run in group.runs if group.classes or not run.diverged]
    values = [100 * counted_accuracy(run, group.classes) for run in runs]
    kept = [value for value in values if math.isfinite(value)]
    return summarize(kept, sum(run.diverged for run in runs))


def loss_of(group: Group) -> Summary:
    """The test losses of a group's last logged tests; of the runs that did not diverge."""
    losses = [run.final_loss for run in group.runs if not run.diverged]
    return summarize([loss for loss in losses if math.isfinite(loss)])


def default_levels(groups: Sequence[Group]) -> list[float]:
    """A few accuracies in percent that all groups reach: at 4, 2 and 1.1 times the error with
    which the worst of them ends; [] where none has an accuracy."""
    ends = [accuracy_of(group).mean for group in groups]
    ends = [end for end in ends if math.isfinite(end)]
    if not ends or not 0 < min(ends) < 100:
        return []
    error = 100 - min(ends)
    digits = max(0, math.ceil(-math.log10(error)) + 1)
    levels = {round(100 - factor * error, digits) for factor in _ERRORS}
    return sorted(level for level in levels if level > 0)


def iterations_to(run: RunResult, level: float) -> float:
    """Iterations until a test first shows this accuracy (percent), linear between two tests; nan
    where none does."""
    test = run.test()
    known = np.isfinite(test["accuracy"])
    at, values = test["iteration"][known], 100 * test["accuracy"][known]
    reached = np.flatnonzero(values >= level)
    if not len(reached):
        return math.nan
    i = int(reached[0])
    if i == 0:
        return float(at[0])
    part = (level - values[i - 1]) / (values[i] - values[i - 1])
    return float(at[i - 1] + part * (at[i] - at[i - 1]))


@dataclass(frozen=True)
class Entry:
    """What is said of one group. against: the first group, None for the first itself. reach: by
    level, the iterations of the runs that reach it. whole: accuracy on the whole test set."""

    group: Group
    accuracy: Summary
    whole: Summary
    loss: Summary
    against: Comparison | None
    reach: dict[float, Summary]


def compare(groups: Sequence[Group], levels: Sequence[float] = ()) -> list[Entry]:
    """What is said of each group; levels: accuracies in percent, default_levels where none."""
    wanted = list(levels) or default_levels(groups)
    first = accuracy_of(groups[0])
    entries = []
    for group in groups:
        accuracy = accuracy_of(group)
        reach = {}
        for level in wanted:
            found = [iterations_to(run, level) for run in group.runs]
            reach[level] = summarize([at for at in found if math.isfinite(at)])
        wholes = [100 * run.whole_accuracy for run in group.runs if not run.diverged]
        entries.append(
            Entry(
                group=group,
                accuracy=accuracy,
                whole=summarize([value for value in wholes if math.isfinite(value)]),
                loss=loss_of(group),
                against=None if group is groups[0] else welch(accuracy, first),
                reach=reach,
            )
        )
    return entries


@dataclass(frozen=True)
class Apart:
    """How far two curves are apart, first less second, where both are known.

    begin, end: the first and last iteration. mean: of the absolute difference over the iterations.
    largest: the difference that is largest either way, at iteration `at`. ends: both values at the
    end.

    points: how many both curves have themselves; of these alone are rms, the root of the mean
    square difference; noise, how far one difference strays by chance; and quarters, the mean
    difference in each quarter of them, in standard errors by that noise (nan for fewer than 12).
    """

    y: str
    begin: float
    end: float
    mean: float
    largest: float
    at: float
    ends: tuple[float, float]
    points: int
    rms: float
    noise: float
    quarters: tuple[float, ...]


def apart(first: Group, second: Group, y: str) -> Apart | None:
    """Compare the mean curves of two groups, linear between their points; None where they share
    no iterations."""
    one, two = band_of(first, y), band_of(second, y)
    if not (len(one.x) and len(two.x)):
        return None
    begin, end = max(one.x[0], two.x[0]), min(one.x[-1], two.x[-1])
    if begin > end:
        return None
    axis = np.unique(np.concatenate([one.x, two.x]))
    axis = axis[(axis >= begin) & (axis <= end)]
    values = np.interp(axis, one.x, one.mean), np.interp(axis, two.x, two.mean)
    difference = values[0] - values[1]
    largest = int(np.argmax(np.abs(difference)))
    if len(axis) > 1:
        gaps = np.diff(axis)
        middles = (np.abs(difference[1:]) + np.abs(difference[:-1])) / 2
        mean = float((gaps * middles).sum() / gaps.sum())
    else:
        mean = float(np.abs(difference[0]))
    return Apart(
        y=y,
        begin=float(begin),
        end=float(end),
        mean=mean,
        largest=float(difference[largest]),
        at=float(axis[largest]),
        ends=(float(values[0][-1]), float(values[1][-1])),
        **_at_points(one, two),
    )


def _at_points(one: Band, two: Band) -> dict[str, Any]:
    """The fields of Apart that rest on the points of both curves alone."""
    _, first, second = np.intersect1d(one.x, two.x, return_indices=True)
    difference = one.mean[first] - two.mean[second]
    found = noise(difference)
    quarters = np.array_split(difference, 4) if len(difference) >= 12 else ()
    return {
        "points": len(difference),
        "rms": float(np.sqrt(np.mean(difference**2))) if len(difference) else math.nan,
        "noise": found,
        "quarters": tuple(
            float(part.mean() * math.sqrt(len(part)) / found) if found else math.nan
            for part in quarters
        )
        or (math.nan,) * 4,
    }


def noise(values: np.ndarray) -> float:
    """Standard deviation of a series about a smooth course, from its second differences: they leave
    nothing of a straight line, and of independent noise six times its variance. nan for fewer than
    three values."""
    bends = np.diff(values, 2)
    return float(np.sqrt(np.mean(bends**2) / 6)) if len(bends) else math.nan
