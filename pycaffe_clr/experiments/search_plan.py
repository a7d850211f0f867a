"""Which values a search tries, and which next: grids, and bisection of the exponent.

Source: the report's section 4.4 (weight decay), section 5 (momentum) and section 4.2 (batch size).
Pure arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pycaffe_clr.errors import ConfigError

WEIGHT_DECAY, MOMENTUM, BATCH, LR = "weight_decay", "momentum", "batch", "lr"
VARIED = (WEIGHT_DECAY, MOMENTUM, BATCH, LR)
# A value is a number, or (from, to) of a cyclical momentum.
Value = float | tuple[float, float]

WEIGHT_DECAYS = (1e-2, 1e-3, 1e-4)
MOMENTA = (0.99, 0.97, 0.95, 0.9)
BATCH_FACTORS = (0.5, 1, 2, 4)
RATE_FACTORS = (0.25, 0.5, 1, 2)
# One significant figure is enough (section 4.4): values closer than this factor are not bisected.
CLOSE = 10**0.3
# A weight decay of 0 stands this far below the smallest other one, in bisections.
_ZERO = 0.01


@dataclass(frozen=True)
class Next:
    """A value to try next, and why. best, other: the two that it lies between, or goes on from."""

    value: float
    reason: str
    best: float
    other: float
    outwards: bool


def label(value: Value) -> str:
    """A value as tables and folders have it: 0.0032, 0.95-0.85."""
    if isinstance(value, tuple):
        return "-".join(f"{part:.3g}" for part in value)
    return f"{value:.0f}" if 1000 <= value < 1e6 else f"{value:.3g}"


def place(value: Value) -> tuple[float, ...]:
    """What values are put in order by."""
    return value if isinstance(value, tuple) else (value,)


def first_values(vary: str, batch: int, rate: float) -> list[Value]:
    """The values to begin with. batch: of the net, rate: the highest of the solver."""
    if vary == WEIGHT_DECAY:
        return list(WEIGHT_DECAYS)
    if vary == MOMENTUM:
        return list(MOMENTA)
    if vary == BATCH:
        return list(dict.fromkeys(float(max(1, round(batch * f))) for f in BATCH_FACTORS))
    return [float(f"{rate * f:.6g}") for f in RATE_FACTORS]


def parse_values(vary: str, words: Sequence[str | float | tuple[float, float]]) -> list[Value]:
    """Values from the command line or Python, each once; momentum may be FROM-TO.

    Raises ConfigError for what is no value of that kind.
    """
    found: list[Value] = []
    for word in words:
        value = _parse(vary, word)
        if value not in found:
            found.append(value)
    return found


def _parse(vary: str, word: str | float | tuple[float, float]) -> Value:
    parts: Sequence[str | float]
    if isinstance(word, tuple):
        parts = word
    elif isinstance(word, str) and vary == MOMENTUM:
        parts = word.replace(":", "-").split("-")
    else:
        parts = [word]
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    limits = {WEIGHT_DECAY: (0.0, math.inf), MOMENTUM: (0.0, 1.0), BATCH: (1.0, math.inf)}
    low, high = limits.get(vary, (0.0, math.inf))
    fits = all(low <= value <= high and math.isfinite(value) for value in values)
    if vary == BATCH:
        fits = fits and all(value == int(value) for value in values)
    if vary == LR:
        fits = fits and all(value > 0 for value in values)
    if not fits or not 1 <= len(values) <= (2 if vary == MOMENTUM else 1):
        kinds = {
            WEIGHT_DECAY: "0 or more",
            MOMENTUM: "0 to 1, or FROM-TO",
            BATCH: "a whole number, 1 or more",
            LR: "more than 0",
        }
        raise ConfigError(f"--values {word}: a {vary} is {kinds[vary]}")
    return (values[0], values[1]) if len(values) == 2 else values[0]


def next_value(scores: Mapping[float, float]) -> Next | None:
    """The value to try after those that were tried: bisect between the best two, or go on outwards.

    scores: by value, the smaller the better; inf for one that diverged. The two are the best and
    the better of its neighbours, in the exponent; where the best is the largest or smallest of all
    the next lies beyond it, as far as its neighbour on the other side. None: it is settled, or
    there are not two values to go by.
    """
    values = sorted(scores)
    if len(values) < 2 or not any(math.isfinite(score) for score in scores.values()):
        return None
    at = min(range(len(values)), key=lambda i: scores[values[i]])
    places = _exponents(values)
    if 0 < at < len(values) - 1 or values[at] == 0:
        sides = [i for i in (at - 1, at + 1) if 0 <= i < len(values)]
        # The wider gap where both neighbours are equally good.
        other = min(sides, key=lambda i: (scores[values[i]], -abs(places[i] - places[at])))
        if abs(places[other] - places[at]) <= math.log10(CLOSE):
            return None
        value = _rounded(10 ** ((places[at] + places[other]) / 2))
        reason = f"bisects the exponent between {label(values[at])} and {label(values[other])}"
        return Next(value, reason, values[at], values[other], outwards=False)
    other = 1 if at == 0 else at - 1
    value = _rounded(10 ** (2 * places[at] - places[other]))
    edge = "smallest" if at == 0 else "largest"
    reason = f"extrapolates: the best, {label(values[at])}, is the {edge}"
    return Next(value, reason, values[at], values[other], outwards=True)


def _exponents(values: Sequence[float]) -> list[float]:
    """Decimal exponents of sorted values, with one for 0."""
    positive = [value for value in values if value > 0]
    zero = _ZERO * positive[0] if positive else 1.0
    return [math.log10(value or zero) for value in values]


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def scaled_rate(rate: float, batch: int, of_batch: int) -> float:
    """A learning rate for another batch: with the root of its size.

    As the rates of the report's Figure 6 have it: 0.4, 0.6, 0.8 and 1 for 128 to 1,024.
    """
    return float(f"{rate * math.sqrt(batch / of_batch):.6g}")
