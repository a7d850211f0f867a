"""The learning rates that a range test names: the maximum, and the minimum by three rules.

Source: the report's section 4.1. Pure arithmetic on what clues.py has read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pycaffe_clr.experiments.clue_kinds import number
from pycaffe_clr.experiments.clues import Clues

# A divergence that comes within this factor of the last good rate leaves no warning: stay below it
# by as much. Of the report's 3-layer net, which diverges at 0.008 and is trained at 0.005 (Figure
# 4a, Table 1).
MARGIN = 1.5


@dataclass(frozen=True)
class Minimum:
    """A minimum rate by one of the three rules: between low and high."""

    low: float
    high: float
    sentence: str


@dataclass(frozen=True)
class Rates:
    """What to train with. maximum: nan where the test shows none. turned: whether the test loss
    turned within the range, so that the maximum is one and not only a lower bound of it."""

    maximum: float
    turned: bool
    sentence: str
    minima: tuple[Minimum, ...]

    @property
    def base(self) -> float:
        """A tenth of the maximum, as section 5 has it for 1cycle."""
        return self.maximum / 10

    def sentences(self) -> list[str]:
        """The maximum and the three minima, in words."""
        return [self.sentence, *(minimum.sentence for minimum in self.minima)]


def suggest(clues: Clues, short_runs: Mapping[float, Clues] | None = None) -> Rates:
    """The rates that the clues of a range test, and of short runs at constant rates, show.

    clues: over the learning rate. short_runs: for the third rule, by rate; None: none were made.
    """
    maximum, turned, sentence = _maximum(clues)
    if math.isnan(maximum):
        return Rates(maximum, turned, sentence, ())
    first = Minimum(
        maximum / 4,
        maximum / 3,
        f"Minimum by rule 1, a third or a quarter of the maximum: "
        f"{number(maximum / 4)} to {number(maximum / 3)}.",
    )
    second = Minimum(
        maximum / 20,
        maximum / 10,
        f"Minimum by rule 2, a tenth or a twentieth where only one cycle is used: "
        f"{number(maximum / 20)} to {number(maximum / 10)}.",
    )
    return Rates(maximum, turned, sentence, (first, second, _third(clues, short_runs)))


def _maximum(clues: Clues) -> tuple[float, bool, str]:
    bottom, divergence = clues.bottom, clues.divergence
    if bottom is None or clues.convergence is None:
        if divergence is not None:
            text = (
                f"No maximum: training diverges at {number(divergence.x)} before it converges. "
                "Start lower (--min-lr), and end lower (--max-lr) or raise it more slowly "
                "(--iterations)."
            )
            return math.nan, False, text
        text = (
            "No maximum: training does not begin to converge in this range. Try larger rates "
            "(--max-lr), more iterations, or another initialization."
        )
        return math.nan, False, text
    unstable = clues.instabilities[0] if clues.instabilities else None
    if unstable is not None and unstable.first < bottom.last:
        from_to = f"{number(unstable.loss)} to {number(unstable.top)}"
        text = (
            f"Maximum: {number(unstable.first)}. Beyond it training is unstable: both losses rise, "
            f"that of the tests from {from_to}."
        )
        return unstable.first, True, text
    if not bottom.rises:
        text = (
            f"Maximum: at least {number(bottom.last)}, the largest rate tested. The test loss has "
            f"not turned: try --max-lr {number(4 * bottom.last)}."
        )
        return bottom.last, False, text
    if divergence is not None and divergence.x < MARGIN * bottom.last:
        maximum = divergence.x / MARGIN
        text = (
            f"Maximum: {number(maximum)}. Training breaks down at {number(divergence.x)} with no "
            "rise before it that would warn, so two thirds of that."
        )
        return maximum, True, text
    text = (
        f"Maximum: {number(bottom.last)}, the largest rate at which the test loss is still at its "
        f"lowest ({number(bottom.loss)}). A constant rate must be smaller."
    )
    return bottom.last, True, text


def _third(clues: Clues, short_runs: Mapping[float, Clues] | None) -> Minimum:
    rule = "Minimum by rule 3, the largest initial rate that lets convergence begin"
    if not short_runs:
        begins = clues.convergence.x if clues.convergence else math.nan
        text = (
            f"{rule} without overfitting: short runs were not made (--short-runs); in the range "
            f"test convergence begins at {number(begins)}."
        )
        return Minimum(begins, begins, text)
    for rate in sorted(short_runs, reverse=True):
        if good_start(short_runs[rate]):
            failed = [r for r in short_runs if r > rate]
            higher = f"; {_failures(short_runs, failed)}" if failed else ""
            text = f"{rule} without signs of overfitting in short runs: {number(rate)}{higher}."
            return Minimum(rate, rate, text)
    text = f"{rule}: none of the short runs; {_failures(short_runs, list(short_runs))}."
    return Minimum(math.nan, math.nan, text)


def good_start(clues: Clues) -> bool:
    """Whether a short run at a constant rate begins to converge, without signs of overfitting."""
    return (
        clues.convergence is not None
        and clues.divergence is None
        and not clues.overfitting
        and not clues.instabilities
    )


def _failures(short_runs: Mapping[float, Clues], rates: list[float]) -> str:
    return ", ".join(f"{number(r)} {short_runs[r].label}" for r in sorted(rates))
