"""The checks of claims: from what their subjects show to held or not, with the numbers.

Where two results are compared and both have two runs or more, a difference of less than two
standard errors decides nothing. The eye's words - rises, plateau, diverges - are read as clues.py
reads them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pycaffe_clr.experiments import curves as shapes
from pycaffe_clr.experiments.claim_subject import Subject, finite
from pycaffe_clr.experiments.clues import FLAT
from pycaffe_clr.experiments.statistics import Summary, welch

SURE = 2.0  # standard errors of the difference
# Held, not held, or None where the runs cannot say; and the numbers.
Answer = tuple[bool | None, str]


def _in_order(subjects: Sequence[Subject], values: Sequence[Summary]) -> Answer:
    """Whether each value is below the next."""
    shown = [f"{s.name} {s.show(v.mean)}" for s, v in zip(subjects, values, strict=True)]
    shown[0] += f" (n = {values[0].n})"
    answers = [_below(a, b) for a, b in zip(values, values[1:], strict=False)]
    why = ", ".join(shown)
    if False in answers:
        return False, why
    if None in answers:
        return None, f"{why}: within {SURE:g} standard errors"
    return True, why


def _first_below(subjects: Sequence[Subject], values: Sequence[Summary]) -> Answer:
    """Whether the first value is below each of the others."""
    pairs = [
        _in_order([subjects[0], s], [values[0], v])
        for s, v in zip(subjects[1:], values[1:], strict=True)
    ]
    held = False if any(h is False for h, _ in pairs) else None
    if all(h for h, _ in pairs):
        held = True
    shown = ", ".join(f"{s.name} {s.show(v.mean)}" for s, v in zip(subjects, values, strict=True))
    note = "" if held is not None else f": within {SURE:g} standard errors"
    return held, f"{shown} (n = {', '.join(str(v.n) for v in values)}){note}"


def _below(first: Summary, second: Summary) -> bool | None:
    """Whether first is lower; None where the runs cannot tell them apart."""
    if not (first.n and second.n):
        return None
    if math.isinf(first.mean) or math.isinf(second.mean):
        return first.mean < second.mean
    t = welch(first, second).t
    if math.isfinite(t) and abs(t) < SURE:
        return None
    return first.mean < second.mean


def _lowest_min(subjects: Sequence[Subject], values: Mapping[str, float]) -> Answer:
    return _first_below(subjects, [s.lows for s in subjects])


def _min_order(subjects: Sequence[Subject], values: Mapping[str, float]) -> Answer:
    return _in_order(subjects, [s.lows for s in subjects])


def _final_best(subjects: Sequence[Subject], values: Mapping[str, float]) -> Answer:
    return _first_below(subjects, [s.finals for s in subjects])


def _final_order(subjects: Sequence[Subject], values: Mapping[str, float]) -> Answer:
    return _in_order(subjects, [s.finals for s in subjects])


def _final_not_below(subjects: Sequence[Subject], values: Mapping[str, float]) -> Answer:
    held, why = _first_below(subjects, [s.finals for s in subjects])
    return held is not False, why


def _equivalent(subjects: Sequence[Subject], values: Mapping[str, float]) -> Answer:
    """Whether all finals lie within the sum of their standard deviations of each other."""
    finals = [s.finals for s in subjects]
    why = ", ".join(
        f"{s.name} {s.show(f.mean)}{_spread(s, f)}" for s, f in zip(subjects, finals, strict=True)
    )
    if any(f.n < 2 for f in finals):
        return None, f"{why}: two runs of each are needed for a deviation"
    pairs = [(a, b) for i, a in enumerate(finals) for b in finals[i + 1 :]]
    return all(abs(a.mean - b.mean) <= a.sd + b.sd for a, b in pairs), why


def _spread(subject: Subject, final: Summary) -> str:
    if final.n < 2:
        return ""
    return f" +- {100 * final.sd:.2f}" if subject.y == "accuracy" else f" +- {final.sd:.3f}"


def _min_within(subjects: Sequence[Subject], values: Mapping[str, float]) -> Answer:
    """Whether all minima lie within the fraction `by` of the lowest."""
    lows = [s.lows.mean for s in subjects]
    why = ", ".join(f"{s.name} {s.show(v)}" for s, v in zip(subjects, lows, strict=True))
    return max(lows) <= min(lows) * (1 + values["by"]), why


def _lower_at(subjects: Sequence[Subject], values: Mapping[str, float]) -> Answer:
    held, why = _in_order(subjects, [s.at(values["x"]) for s in subjects])
    return held, f"at {values['x']:g}: {why}"


def _better_between(subjects: Sequence[Subject], values: Mapping[str, float]) -> Answer:
    """Whether the first is the better one on average from x `from` on, as far as both go."""
    first, second = subjects[0].mean, subjects[1].mean
    end = min(first.x.max(), second.x.max())
    axis = np.linspace(values["from"], end, 50)
    if end <= values["from"]:
        return None, f"a curve ends at {end:g}"
    means = [float(np.interp(axis, c.x, _padded(c)).mean()) for c in (first, second)]
    shown = [f"{s.name} {s.show(m)}" for s, m in zip(subjects, means, strict=True)]
    return means[0] < means[1], f"from {values['from']:g} to {end:g}: {', '.join(shown)}"


def _padded(curve: shapes.Curve) -> np.ndarray:
    good = finite(curve)
    return np.pad(shapes.smoothed(good), (0, len(curve) - len(good)), constant_values=np.inf)


def _rises(subjects: Sequence[Subject], values: Mapping[str, float]) -> Answer:
    (subject,) = subjects
    low, high = values.get("from", -math.inf), values.get("to", math.inf)
    found = [r for r in subject.clues.rises if r.first < high and r.last > low]
    if found:
        where = [f"{r.first:.3g} to {r.last:.3g}" for r in found]
        tops = [f"{subject.show(r.loss)} to {subject.show(r.top)}" for r in found]
        return True, "; ".join(f"rises from {a}: {b}" for a, b in zip(where, tops, strict=True))
    if subject.clues.divergence and low <= subject.clues.divergence.x <= high:
        return False, f"diverges at {subject.clues.divergence.x:.3g} without a rise before"
    return False, "no rise of more than 3 % and the noise"


def _no_rise(subjects: Sequence[Subject], values: Mapping[str, float]) -> Answer:
    held, why = _rises(subjects, values)
    return not held, why


def _falls(subjects: Sequence[Subject], values: Mapping[str, float]) -> Answer:
    """Whether after x `from` the curve gets below its value there, by more than a plateau does."""
    (subject,) = subjects
    here = subject.at(values["from"]).mean
    later = finite(subject.mean)[subject.mean.x[: len(finite(subject.mean))] > values["from"]]
    if not (math.isfinite(here) and len(later)):
        return None, f"no tests around {values['from']:g}"
    low = float(shapes.smoothed(later).min())
    return low < here * (1 - FLAT), f"{subject.show(here)}, then as low as {subject.show(low)}"


def _to_end(subjects: Sequence[Subject], values: Mapping[str, float]) -> Answer:
    """Whether the quantity gets better to the end, with no plateau."""
    (subject,) = subjects
    found = subject.clues.underfitting
    if found:
        return True, f"by {100 * found.fall:.0f} % over the last third"
    return False, subject.clues.label


def _plateau(subjects: Sequence[Subject], values: Mapping[str, float]) -> Answer:
    (subject,) = subjects
    if "from" not in values:
        bottom = subject.clues.bottom
        if bottom is None:
            return None, "no tests"
        return bottom.plateau, f"{100 * bottom.share:.0f} % of the tests within 5 % of the minimum"
    curve = subject.mean
    inside = (curve.x >= values["from"]) & (curve.x <= values["to"])
    if inside.sum() < 3:
        return None, "fewer than three tests there"
    part = shapes.smoothed(curve.test_loss[inside])
    spread = float((part.max() - part.min()) / part.mean())
    return spread < FLAT, f"varies by {100 * spread:.1f} % there"


def _faster(subjects: Sequence[Subject], values: Mapping[str, float]) -> Answer:
    """Whether the first reaches half of what the second wins in all before the second does."""
    first, second = subjects
    smooth = shapes.smoothed(finite(second.mean))
    start = second.mean.start if math.isfinite(second.mean.start) else float(smooth[0])
    level = (start + float(smooth.min())) / 2
    places = []
    for subject in (first, second):
        values_there = shapes.smoothed(finite(subject.mean))
        below = np.flatnonzero(values_there <= level)
        places.append(float(subject.mean.x[below[0]]) if len(below) else math.inf)
    why = f"{first.show(level)} is reached at {places[0]:.4g} and {places[1]:.4g}"
    if math.isinf(max(places)) and places[0] == places[1]:
        return None, f"{first.show(level)} is reached by neither"
    if places[0] == places[1]:
        # Between two tests: the lower value there was there first.
        i = int(np.flatnonzero(second.mean.x == places[1])[0])
        a, b = float(finite(first.mean)[i]), float(smooth[i])
        return a < b, f"{why}; there {first.show(a)} and {second.show(b)}"
    return places[0] < places[1], why


def _lowest_near(subjects: Sequence[Subject], values: Mapping[str, float]) -> Answer:
    (subject,) = subjects
    bottom = subject.clues.bottom
    if bottom is None:
        return None, "no tests"
    held = values["x"] / values["factor"] <= bottom.x <= values["x"] * values["factor"]
    return held, f"lowest at {bottom.x:.3g}"


def _diverges_near(subjects: Sequence[Subject], values: Mapping[str, float]) -> Answer:
    (subject,) = subjects
    found = subject.clues.divergence
    if found is None:
        return False, f"does not diverge up to {float(subject.mean.x[-1]):.3g}"
    held = values["x"] / values["factor"] <= found.x <= values["x"] * values["factor"]
    return held, f"diverges at {found.x:.3g}"


def _stable_longer(subjects: Sequence[Subject], values: Mapping[str, float]) -> Answer:
    """Whether the first stays within 5 % of its minimum up to a larger x than the others."""
    ends = [s.clues.bottom.last if s.clues.bottom else -math.inf for s in subjects]
    why = ", ".join(f"{s.name} to {end:.3g}" for s, end in zip(subjects, ends, strict=True))
    return all(ends[0] > end for end in ends[1:]), f"within 5 % of the minimum: {why}"


def _trains(subjects: Sequence[Subject], values: Mapping[str, float]) -> Answer:
    """Whether each reaches so many percent at its best."""
    best = [100 * (1 - s.lows.mean) for s in subjects]
    why = ", ".join(f"{s.name} {b:.1f} %" for s, b in zip(subjects, best, strict=True))
    return all(b >= values["percent"] for b in best), why


def _fails(subjects: Sequence[Subject], values: Mapping[str, float]) -> Answer:
    """Whether each diverges or ends below so many percent."""
    ends = [100 * (1 - s.finals.mean) for s in subjects]
    why = ", ".join(f"{s.name} ends at {e:.1f} %" for s, e in zip(subjects, ends, strict=True))
    return all(e < values["percent"] for e in ends), why


# Checks that need no curve: they look at what is left of a run in the end.
OF_ENDS = frozenset(
    "final_lowest final_highest final_order final_not_below equivalent_within_sd fails".split()
)
CHECKS: dict[str, Callable[[Sequence[Subject], Mapping[str, float]], Answer]] = {
    "lowest_min": _lowest_min,
    "highest_max": _lowest_min,  # of an accuracy, which a Subject holds as one minus it
    "max_order": _min_order,
    "final_lowest": _final_best,
    "final_highest": _final_best,
    "final_order": _final_order,
    "final_not_below": _final_not_below,
    "equivalent_within_sd": _equivalent,
    "min_within": _min_within,
    "lower_at": _lower_at,
    "higher_between": _better_between,
    "rises": _rises,
    "no_rise": _no_rise,
    "falls": _falls,
    "falls_to_end": _to_end,
    "rises_to_end": _to_end,
    "plateau": _plateau,
    "faster": _faster,
    "lowest_near": _lowest_near,
    "diverges_near": _diverges_near,
    "stable_longer": _stable_longer,
    "trains": _trains,
    "fails": _fails,
}
