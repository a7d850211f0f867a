"""Means of a few runs, how sure they are, and whether two of them differ.

The report gives every result as mean and standard deviation of four runs (two on ImageNet); what
it says of one row against another can be tested from these three numbers alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Summary:
    """A sample: its mean, sample standard deviation (nan for fewer than two) and size.

    diverged: how many of the n are runs that diverged and count at chance; where all did, there is
    no deviation: chance repeated is no spread.
    """

    mean: float
    sd: float
    n: int
    diverged: int = 0
    values: tuple[float, ...] = field(default=(), repr=False)

    @property
    def standard_error(self) -> float:
        """Of the mean; nan for fewer than two values, or where all diverged."""
        return self.sd / math.sqrt(self.n) if self.n > 1 else math.nan

    @property
    def all_diverged(self) -> bool:
        """Whether there are runs, and every one of them diverged."""
        return 0 < self.n == self.diverged


def summarize(values: Iterable[float], diverged: int = 0) -> Summary:
    """Mean and sample standard deviation (n - 1 in the divisor) of the values; nan without any."""
    found = tuple(float(value) for value in values)
    if not found:
        return Summary(math.nan, math.nan, 0)
    mean = math.fsum(found) / len(found)
    sd = math.nan
    if len(found) > 1 and diverged < len(found):
        sd = math.sqrt(math.fsum((value - mean) ** 2 for value in found) / (len(found) - 1))
    return Summary(mean, sd, len(found), diverged, found)


# --- one run's number -----------------------------------------------------------------------------


class Ended(Protocol):
    """What is asked of a run, read whole or not: RunResult or StoredRun."""

    @property
    def diverged(self) -> bool:
        """Whether its loss stopped being a number."""

    @property
    def final_accuracy(self) -> float:
        """Of its last test, a fraction; nan without one."""

    @property
    def whole_accuracy(self) -> float:
        """The same on the whole test set."""


def counted_accuracy(run: Ended, classes: int, whole: bool = False) -> float:
    """The accuracy by which a run counts in a mean: its last logged test's, or on the whole set.

    A run that diverged counts at chance, 1 / classes: the report's own diverged runs go on to
    their last iteration and end there (its logs show 10.0 % on CIFAR-10). classes: 0 where it is
    not known; such a run is nan.
    """
    if run.diverged:
        return 1.0 / classes if classes else math.nan
    return run.whole_accuracy if whole else run.final_accuracy


# --- whether two means differ ---------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """Welch's test of two samples, which need not have the same spread.

    difference: of the means, first minus second. t: the difference in standard errors of the
    difference. degrees: of freedom, by Welch and Satterthwaite. p: probability of a difference at
    least so large, of either sign, where both have the same mean. t, degrees and p are nan where a
    sample has fewer than two values or neither has any spread.
    """

    difference: float
    t: float
    degrees: float
    p: float


def welch(first: Summary, second: Summary) -> Comparison:
    """Welch's unequal-variances t-test, from mean, standard deviation and size of each sample."""
    difference = first.mean - second.mean
    # Variance of each mean, and of their difference.
    one, two = (s.standard_error**2 for s in (first, second))
    variance = one + two
    if not variance > 0:
        return Comparison(difference, math.nan, math.nan, math.nan)
    degrees = variance**2 / (one**2 / (first.n - 1) + two**2 / (second.n - 1))
    t = difference / math.sqrt(variance)
    return Comparison(difference, t, degrees, student_p(t, degrees))


def student_p(t: float, degrees: float) -> float:
    """Two-sided tail of Student's t distribution: the probability of |T| >= |t|.

    By the regularised incomplete beta function: I_x(degrees/2, 1/2) at x = degrees/(degrees + t^2)
    (Abramowitz and Stegun, 26.7.1).
    """
    if math.isnan(t) or not degrees > 0:
        return math.nan
    if math.isinf(t):
        return 0.0
    return incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t))


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), for a, b > 0 and x in [0, 1]."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    # The fraction converges fast below the mean of the distribution; above it the mirror image.
    if x > (a + 1) / (a + b + 2):
        return 1.0 - incomplete_beta(b, a, 1 - x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    log_front += a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) / (a * _beta_fraction(a, b, x))


def _beta_fraction(a: float, b: float, x: float) -> float:
    """1 + d1/(1 + d2/(1 + ...)) of Abramowitz and Stegun, 26.5.8, by Lentz's method."""
    tiny = 1e-300
    value = c = 1.0
    d = 0.0
    for index in range(1, 1000):
        m = index // 2
        if index % 2:
            step = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            step = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1.0 / ((1.0 + step * d) or tiny)
        c = (1.0 + step / c) or tiny
        value *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return value


# --- means of curves ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Band:
    """The mean of several curves at each x, its sample standard deviation (nan of one curve) and
    how many curves there are."""

    x: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    n: int


def mean_curve(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> Band:
    """Mean and deviation of curves (x, y), each with x rising, on one axis.

    The axis has every x of any curve that all of them reach; at an x of others a curve is taken as
    linear between its two neighbours. Runs that are tested at the same iterations are so averaged
    as they are. Points whose y is not finite are left out of a curve.
    """
    found = []
    for x, y in curves:
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        finite = np.isfinite(x) & np.isfinite(y)
        if finite.any():
            found.append((x[finite], y[finite]))
    empty = np.empty(0)
    if not found:
        return Band(empty, empty, empty, 0)
    first, last = max(x[0] for x, _ in found), min(x[-1] for x, _ in found)
    axis = np.unique(np.concatenate([x for x, _ in found]))
    axis = axis[(axis >= first) & (axis <= last)]
    rows = np.array([np.interp(axis, x, y) for x, y in found])
    mean = rows.mean(axis=0)
    sd = rows.std(axis=0, ddof=1) if len(rows) > 1 else np.full(len(axis), np.nan)
    return Band(axis, mean, sd, len(rows))
