"""Clues in the test loss: where it converges, turns, diverges, under- and overfits, in words.

The report's section 3 reads them by eye; the rules that stand for the eye here are these.
All but the divergence is read from the smoothed loss (curves.smoothed: a running median over 3
tests, then a mean over a twelfth of them, at least 3; over a sixth or a quarter where the noise is
large). A change counts where it is more than 3 % of the loss there and more than 7 (6.5, 6)
standard deviations of a smoothed test: noise alone then shows a clue in about one of a hundred flat
curves of 30 to 120 tests. Pure arithmetic on arrays: no compiled code, no files.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pycaffe_clr.experiments.clue_kinds import (
    PLATEAU,
    Bottom,
    Clue,
    Convergence,
    Divergence,
    Peak,
    Rise,
    Underfitting,
    number,
)
from pycaffe_clr.experiments.curves import (
    LR,
    Curve,
    noise_of,
    smoothed,
    turning_points,
    window_of,
)

# What counts as a change of the smoothed loss: a fraction of it, and deviations of its noise.
CHANGE = 0.03
# Part of the tests in a window, and how many deviations of a mean over it count: fewer windows fit
# into a run the wider they are, and the furthest of them is less far off by chance.
WINDOWS = ((1 / 12, 7.0), (1 / 6, 6.5), (1 / 4, 6.0))
# A wider window is taken where the noise hides changes of this fraction of the loss.
HIDDEN = 0.1
# The loss is flat where it stays within this fraction of its minimum (or the noise, if larger).
FLAT = 0.05
# Training has begun to converge when the loss has fallen by this fraction of its first value.
BEGUN = 0.05
# Diverged: half of what was won is lost, and the loss stays above this many minima; or nearly all
# is lost. Where it is not known where the loss began: it stays above this many minima.
MINIMA, LOST, ALL_LOST, MINIMA_ALONE = 2.0, 0.5, 0.9, 3.0


@dataclass(frozen=True)
class Clues:
    """All that the test loss of a curve shows. None or (): it does not show that.

    fresh: of a run that began untrained; of others convergence is not asked.
    """

    x_name: str
    tests: int
    noise: float
    window: int
    fresh: bool = True
    convergence: Convergence | None = None
    bottom: Bottom | None = None
    peak: Peak | None = None
    divergence: Divergence | None = None
    underfitting: Underfitting | None = None
    rises: tuple[Rise, ...] = ()

    @property
    def overfitting(self) -> tuple[Rise, ...]:
        """The rises that are overfitting."""
        return tuple(rise for rise in self.rises if rise.overfitting)

    @property
    def instabilities(self) -> tuple[Rise, ...]:
        """The rises that are none: the rate is too large there."""
        return tuple(rise for rise in self.rises if not rise.overfitting)

    @property
    def label(self) -> str:
        """The strongest clue in a few words, for a table."""
        unit = "" if self.x_name == LR else f"{self.x_name} "
        if self.divergence is not None:
            return f"diverges at {unit}{number(self.divergence.x)}"
        if self.tests and self.fresh and self.convergence is None:
            return "does not converge"
        if self.overfitting:
            return f"overfits from {unit}{number(self.overfitting[0].first)}"
        if self.instabilities:
            return f"unstable from {unit}{number(self.instabilities[0].first)}"
        if self.underfitting is not None:
            return "underfits"
        if self.bottom is not None and self.bottom.plateau:
            return "flat: balanced"
        return "no clear sign" if self.tests else "no tests"

    def sentences(self) -> list[str]:
        """All clues, a sentence each, in the order in which training meets them."""
        if not self.tests:
            early = self.divergence
            return ["Nothing was tested."] + ([early.sentence(self.x_name)] if early else [])
        found: list[Clue | None] = [self.convergence, self.bottom, self.peak, *self.rises]
        found += [self.underfitting, self.divergence]
        texts = [clue.sentence(self.x_name) for clue in found if clue is not None]
        if self.fresh and self.convergence is None:
            texts.insert(0, "Training does not begin to converge.")
        return texts

    def to_json(self) -> dict[str, Any]:
        """Numbers and sentences, as plain values."""
        return asdict(self) | {
            "rises": [asdict(r) | {"overfitting": r.overfitting} for r in self.rises],
            "label": self.label,
            "sentences": self.sentences(),
        }


def read_clues(curve: Curve) -> Clues:
    """Read the clues of a curve: see the module, and each clue, for the rules."""
    end, divergence = _divergence(curve)
    loss = curve.test_loss[:end]
    if not end:
        return Clues(curve.x_name, 0, math.nan, 0, divergence=divergence)
    noise = noise_of(loss)
    smooth, window, least = _smooth(loss, noise)
    bottom, low, flat = _bottom(curve, smooth, least, divergence is not None)
    # Where the rate falls the loss falls with it: that is no underfitting.
    judge = divergence is None and not curve.annealed
    return Clues(
        x_name=curve.x_name,
        tests=end,
        noise=noise,
        window=window,
        fresh=curve.fresh,
        convergence=_convergence(curve, smooth, least) if curve.fresh else None,
        bottom=bottom,
        peak=_peak(curve, end, window),
        divergence=divergence,
        underfitting=_underfitting(curve, smooth, least, low, flat) if judge else None,
        rises=_rises(curve, smooth, least),
    )


def _smooth(loss: np.ndarray, noise: float) -> tuple[np.ndarray, int, float]:
    """The smoothed loss, its window, and the least change of it that is no noise."""
    for part, deviations in WINDOWS:
        window = window_of(len(loss), part)
        smooth = smoothed(loss, window)
        least = deviations * noise / math.sqrt(window)
        if least <= HIDDEN * float(smooth.min()):
            break
    return smooth, window, least


def _divergence(curve: Curve) -> tuple[int, Divergence | None]:
    """How many tests lie before the divergence, and the divergence."""
    loss = curve.test_loss
    end = int(np.argmin(np.isfinite(loss))) if not np.isfinite(loss).all() else len(loss)
    nan = end < len(loss) or curve.nan_at is not None
    good = loss[:end]
    if not end:
        at = curve.nan_at if curve.nan_at is not None else float(curve.x[0]) if len(loss) else None
        return 0, None if at is None else Divergence(at, math.inf, False, True)
    best = float(smoothed(good).min())
    limit = _limit(curve, good, best)
    above = good > limit
    # From here on all tests are above; one such test at the end may be an outlier.
    since = end - (int(np.argmin(above[::-1])) if not above.all() else end)
    found = end - since >= (1 if nan else 2) and since > 0
    if found:
        before = good[max(0, since - 2) : since]
        sudden = bool(before[0] <= best + 0.25 * (limit - best))
        return since, Divergence(float(curve.x[since]), limit, sudden, False)
    if nan:
        at = float(curve.x[end]) if curve.nan_at is None else curve.nan_at
        sudden = bool(good[-1] <= best + 0.25 * (limit - best))
        return end, Divergence(at, limit, sudden, True)
    return end, None


def diverged_for_good(curve: Curve) -> bool:
    """Whether a run is so clearly diverged that going on is no use.

    The last five tests or more are diverged, and the training loss is back, too: half of what it
    had won, or more, is lost. (With BatchNorm the test loss alone may leap at high rates, since
    the running statistics lag behind.)
    """
    end, divergence = _divergence(curve)
    if divergence is None or len(curve) - end < 5:
        return False
    if divergence.nan or not np.isfinite(curve.train_loss).all():
        return True
    train = curve.train_loss[:end]
    lost = _limit(curve, train, float(smoothed(train).min()))
    return bool((curve.train_loss[-3:] > lost).all())


def _limit(curve: Curve, losses: np.ndarray, best: float) -> float:
    """Above which a loss has diverged: see MINIMA."""
    start = curve.start if math.isfinite(curve.start) else float(losses[0])
    if not curve.fresh and math.isnan(curve.start):
        return MINIMA_ALONE * best
    won = start - best
    half = max(MINIMA * best, best + LOST * won)
    return min(half, best + ALL_LOST * won) if won >= BEGUN * start else half


def _convergence(curve: Curve, smooth: np.ndarray, least: float) -> Convergence | None:
    start = curve.start if math.isfinite(curve.start) else float(smooth[0])
    below = smooth <= start - max(BEGUN * start, least)
    # For good: that and the two tests after it, as far as there are any.
    for i in np.flatnonzero(below):
        if below[i : i + 3].all():
            return Convergence(float(curve.x[i]), float(smooth[i]), start)
    return None


def _bottom(
    curve: Curve, smooth: np.ndarray, least: float, diverges: bool
) -> tuple[Bottom, int, int]:
    """The bottom, and the places where it begins and ends."""
    at = int(np.argmin(smooth))
    low = smooth <= smooth[at] + max(FLAT * smooth[at], least)
    above = np.flatnonzero(~low[:at])
    first = int(above[-1]) + 1 if len(above) else 0
    # After a bump the loss may come back: the last way out is the one for good.
    last = int(np.flatnonzero(low)[-1])
    bottom = Bottom(
        x=float(curve.x[at]),
        loss=float(smooth[at]),
        first=float(curve.x[first]),
        last=float(curve.x[last]),
        share=float(low[first:].sum()) / len(curve),
        rises=diverges or last < len(smooth) - 1,
    )
    return bottom, first, last


def _rises(curve: Curve, smooth: np.ndarray, least: float) -> tuple[Rise, ...]:
    """Rises of the test loss; and those of the training loss that the test loss follows.

    The training loss, a mean over all iterations between two tests, has less noise: it shows where
    training becomes unstable before the tests do so for certain.
    """
    change = max(CHANGE * float(smooth.min()), least)
    train = curve.train_loss[: len(smooth)]
    known = bool(np.isfinite(train).all())
    trained = smoothed(train) if known else train
    found = [
        _rise(curve, smooth, trained, low, high)
        for low, high in _ways_up(smooth, change)
        if smooth[high] - smooth[low] > CHANGE * smooth[low]
    ]
    if known:
        tested = smoothed(curve.test_loss[: len(smooth)])
        part, deviations = WINDOWS[0]
        noise = deviations * noise_of(train) / math.sqrt(window_of(len(train), part))
        for low, high in _ways_up(trained, max(FLAT * float(trained.min()), noise)):
            rise = _rise(curve, tested, trained, low, high)
            apart = all(rise.first > r.last or rise.last < r.first for r in found)
            steep = rise.train_top - rise.train > FLAT * rise.train
            if apart and steep and rise.top > rise.loss:
                found.append(rise)
    return tuple(sorted(found, key=lambda rise: rise.first))


def _peak(curve: Curve, end: int, window: int) -> Peak | None:
    accuracy = curve.accuracy[:end]
    if not np.isfinite(accuracy).all():
        return None
    smooth = smoothed(accuracy, window)
    at = int(np.argmax(smooth))
    return Peak(float(curve.x[at]), float(smooth[at]))


def _ways_up(values: np.ndarray, least: float) -> list[tuple[int, int]]:
    points = turning_points(values, least)
    pairs = zip(points, points[1:], strict=False)
    return [(low, high) for low, high in pairs if values[high] > values[low]]


def _rise(curve: Curve, tested: np.ndarray, trained: np.ndarray, low: int, high: int) -> Rise:
    return Rise(
        first=float(curve.x[low]),
        last=float(curve.x[high]),
        loss=float(tested[low]),
        top=float(tested[high]),
        train=float(trained[low]),
        train_top=float(trained[high]),
        temporary=bool(tested[high:].min() < tested[low]),
    )


def _underfitting(
    curve: Curve, smooth: np.ndarray, least: float, first: int, last: int
) -> Underfitting | None:
    count = len(smooth)
    if count < 3 or last < count - 1 or (last - first + 1) / count >= PLATEAU:
        return None
    third = count - max(2, count // 3)
    fall = float(smooth[third] - smooth[-1])
    if fall <= max(FLAT * float(smooth[-1]), least):
        return None
    return Underfitting(float(curve.x[third]), fall / float(smooth[third]))
