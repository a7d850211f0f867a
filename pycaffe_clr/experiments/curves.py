"""A run's test loss over its learning rate or its iterations, smoothed, and where it turns.

Plain arrays in and out: nothing here needs a run, a file or compiled code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pycaffe_clr.errors import DataError
from pycaffe_clr.train.result import RunResult

LR, ITERATION = "learning rate", "iteration"


@dataclass(frozen=True)
class Curve:
    """Tests of one run (or the mean of several) in the order in which they were made.

    All arrays have one value per test. x: learning rate or iteration, as x_name says. test_loss:
    nan or inf where the test had no number. train_loss: mean over the iterations since the test
    before, nan where not known. accuracy: a fraction, nan where not known. start: the loss before
    training, nan where not known. nan_at: x at which the training loss stopped being a number.
    annealed: the learning rate falls over the last third of the run. fresh: it begins with
    untrained weights, not with those of a snapshot.
    """

    x: np.ndarray
    test_loss: np.ndarray
    train_loss: np.ndarray
    accuracy: np.ndarray
    x_name: str = LR
    start: float = np.nan
    nan_at: float | None = None
    annealed: bool = False
    fresh: bool = True

    def __len__(self) -> int:
        return len(self.x)

    @property
    def generalization(self) -> np.ndarray:
        """Test loss minus training loss: the generalization error of the report's Figure 1b."""
        difference: np.ndarray = self.test_loss - self.train_loss
        return difference


def curve(
    x: Sequence[float] | np.ndarray,
    test_loss: Sequence[float] | np.ndarray,
    train_loss: Sequence[float] | np.ndarray | None = None,
    accuracy: Sequence[float] | np.ndarray | None = None,
    x_name: str = LR,
    start: float = np.nan,
    nan_at: float | None = None,
) -> Curve:
    """A Curve of any sequences of one length. Raises DataError where the lengths differ."""
    at, tested = np.asarray(x, np.float64), np.asarray(test_loss, np.float64)
    unknown = np.full(len(at), np.nan)
    trained = unknown if train_loss is None else np.asarray(train_loss, np.float64)
    accurate = unknown if accuracy is None else np.asarray(accuracy, np.float64)
    lengths = [len(array) for array in (at, tested, trained, accurate)]
    if len(set(lengths)) > 1:
        raise DataError(f"a curve needs as many losses as tests; got lengths {lengths}")
    return Curve(at, tested, trained, accurate, x_name, start, nan_at)


def curve_of(run: RunResult, x_name: str = LR, net: int = 0) -> Curve:
    """The tests of a run over its learning rate (as it was at each test) or its iterations."""
    tests = run.test(net)
    at = tests["iteration"]
    steps, losses = run.metrics.get("iteration", np.empty(0)), run.metrics.get("loss", np.empty(0))
    known = len(steps) > 0
    x = run.lr_at(at) if x_name == LR and known else at
    nan_at = None
    if run.diverged:
        last = np.array([run.iteration])
        nan_at = float(run.lr_at(last)[0]) if x_name == LR and known else float(run.iteration)
    # The first loss of a run from a snapshot is no beginning.
    fresh = not known or bool(steps[0] == 0)
    late = run.lr_at(at[2 * len(at) // 3 :]) if known else np.empty(0)
    return Curve(
        x=x,
        test_loss=tests["loss"],
        train_loss=means_between(steps, losses, at),
        accuracy=tests["accuracy"],
        x_name=x_name,
        start=float(losses[0]) if fresh and known else np.nan,
        nan_at=nan_at,
        annealed=bool(len(late) and late[-1] < 0.7 * late[0]),
        fresh=fresh,
    )


def means_between(steps: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Mean of the values whose steps lie since the test before (the first: since the beginning).

    A test at iteration t is made before the update of iteration t. Where nothing lies between, as
    at a test before training, the next value stands in.
    """
    if not len(steps):
        return np.full(len(at), np.nan)
    ends = np.searchsorted(steps, at, side="left")
    begins = np.concatenate([[0], ends[:-1]]) if len(at) else ends
    sums = np.concatenate([[0.0], np.cumsum(values)])
    counts = ends - begins
    means = (sums[ends] - sums[begins]) / np.maximum(counts, 1)
    return np.where(counts > 0, means, values[np.minimum(ends, len(values) - 1)])


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """Mean of the curves of several runs, test by test, as far as all of them go."""
    count = min(len(c) for c in curves)

    def mean(name: str) -> np.ndarray:
        return np.asarray(np.mean([getattr(c, name)[:count] for c in curves], axis=0))

    nans = [c.nan_at for c in curves if c.nan_at is not None]
    return Curve(
        x=curves[0].x[:count],
        test_loss=mean("test_loss"),
        train_loss=mean("train_loss"),
        accuracy=mean("accuracy"),
        x_name=curves[0].x_name,
        start=float(np.mean([c.start for c in curves])),
        nan_at=min(nans) if nans else None,
        annealed=any(c.annealed for c in curves),
        fresh=all(c.fresh for c in curves),
    )


# --- smoothing ----------------------------------------------------------------------------------


def window_of(count: int, part: float = 1 / 12) -> int:
    """Tests in the running mean: a part of them, by default a twelfth, odd, at least 3."""
    return max(3, int(count * part) | 1)


def smoothed(values: np.ndarray, window: int | None = None) -> np.ndarray:
    """Running median over 3 tests, then a centred running mean over `window` of them.

    The median takes out single outliers. At the beginning the windows shrink on both sides alike,
    so that a steep fall is not pulled up; at the end they are cut, so that the last values are
    means, too. values: finite.
    """
    count = len(values)
    half = (window_of(count) if window is None else window) // 2
    middle = np.array(values, np.float64)
    if count > 2:
        middle[1:-1] = np.median([values[:-2], values[1:-1], values[2:]], axis=0)
        middle[-1] = np.median(values[-3:])
    center = np.arange(count)
    low = np.maximum(center - half, 0)
    high = np.minimum(center + np.minimum(half, center), count - 1)
    sums = np.concatenate([[0.0], np.cumsum(middle)])
    smooth: np.ndarray = (sums[high + 1] - sums[low]) / (high + 1 - low)
    return smooth


def noise_of(values: np.ndarray) -> float:
    """Standard deviation of what varies from test to test, as their second differences show it.

    The median of the absolute second differences, over 0.6745 sqrt(6): a trend, a bend and a few
    outliers do not count.
    """
    if len(values) < 3:
        return 0.0
    second = np.abs(values[:-2] - 2 * values[1:-1] + values[2:])
    return float(np.median(second) / (0.6745 * np.sqrt(6)))


def turning_points(values: np.ndarray, least: float) -> list[int]:
    """Places of the minima and maxima in turn, from each to the next by more than `least`.

    The first and the last value count as one where the way to the next is that long. Ways that are
    shorter are noise and not seen.
    """
    points: list[int] = []
    low = high = 0
    direction = 0
    for i, value in enumerate(values):
        if direction >= 0 and value > values[high]:
            high = i
        if direction <= 0 and value < values[low]:
            low = i
        if direction <= 0 and value - values[low] > least:
            points.append(low)
            direction, high = 1, i
        elif direction >= 0 and values[high] - value > least:
            points.append(high)
            direction, low = -1, i
    if direction:
        points.append(high if direction > 0 else low)
    return points
