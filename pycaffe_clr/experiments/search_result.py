"""What a search found: values, their runs and clues, and the ranking."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pycaffe_clr.experiments import search_plan as plan
from pycaffe_clr.experiments.clues import Clues, read_clues
from pycaffe_clr.experiments.curves import Curve, curve_of, noise_of
from pycaffe_clr.experiments.search_plan import Value
from pycaffe_clr.train.result import RunResult

# The last tests, whose mean is the score: a quarter, or the last tenth of a 1cycle run.
LAST, LAST_OF_CYCLE = 0.25, 0.1
# Losses that differ by less than this fraction are the same.
_SAME = 0.01


@dataclass(frozen=True)
class Tried:
    """One value: its run, its clues, and its score.

    score: mean test loss over the last quarter of the tests (nan without tests); for batch sizes
    over the last tenth. accuracy: over the same tests, a fraction. reason: why it was tried.
    """

    value: Value
    run: RunResult
    curve: Curve
    clues: Clues
    score: float
    accuracy: float
    reason: str

    @property
    def label(self) -> str:
        """The value, as tables have it."""
        return plan.label(self.value)

    def key(self, by_accuracy: bool) -> tuple[bool, float]:
        """Sorts the best first: what diverged comes last, by its lowest loss."""
        if self.clues.divergence is not None or math.isnan(self.score):
            return True, self.clues.bottom.loss if self.clues.bottom else math.inf
        if by_accuracy and not math.isnan(self.accuracy):
            return False, -self.accuracy
        return False, self.score


@dataclass(frozen=True)
class Search:
    """What a search found so far. tried: in the order of the ranking, the best first."""

    path: Path
    vary: str
    tried: tuple[Tried, ...]
    by_accuracy: bool
    seconds: dict[str, float]

    @property
    def best(self) -> Tried | None:
        """The best value; None where every one diverged or none has a test loss."""
        first = self.tried[0] if self.tried else None
        return first if first is not None and not first.key(self.by_accuracy)[0] else None

    @property
    def tied(self) -> list[Tried]:
        """Others whose score is not worse than the best's by two standard errors, or by 1 %.

        The error is that of the difference, by its noise from test to test: the runs of a search
        see the same images at the same test. It says nothing of other seeds.
        """
        best = self.best
        if best is None or self.by_accuracy:
            return []
        return [t for t in self.tried if t is not best and _tied(t, best)]


def _tied(tried: Tried, best: Tried) -> bool:
    if tried.key(False)[0] or len(tried.curve) != len(best.curve):
        return False
    difference = tried.curve.test_loss - best.curve.test_loss
    error = noise_of(difference) / math.sqrt(max(3, math.ceil(LAST * len(difference))))
    return tried.score - best.score < max(2 * error, _SAME * best.score)


def judge(
    value: Value, run: RunResult, x_name: str, share: float, reason: str, start: float | None = None
) -> Tried:
    """Clues and score of a run: means over the last `share` of its tests, at least three.

    start: the loss before any training, where a run that goes on from a snapshot does not know it.
    """
    curve = curve_of(run, x_name)
    if start is not None:
        curve = replace(curve, start=start)
    clues = read_clues(curve)
    last = slice(-max(3, math.ceil(share * len(curve))), None)
    losses, accuracies = curve.test_loss[last], curve.accuracy[last]
    known = len(losses) > 0 and bool(np.isfinite(losses).all())
    return Tried(
        value=value,
        run=run,
        curve=curve,
        clues=clues,
        score=float(losses.mean()) if known else math.nan,
        accuracy=float(accuracies.mean()) if len(accuracies) else math.nan,
        reason=reason,
    )


def findings(found: Search) -> dict[str, Any]:
    """A search as plain values, for search.json."""
    return {
        "tried": [
            {
                "label": t.label,
                "reason": t.reason,
                "path": str(t.run.path),
                "state": t.run.state,
                "iterations": t.run.iteration,
                "score": t.score,
                "accuracy": t.accuracy,
                "clues": t.clues.to_json(),
            }
            for t in found.tried
        ],
        "best": found.best.label if found.best else None,
        "tied": [t.label for t in found.tied],
    }
