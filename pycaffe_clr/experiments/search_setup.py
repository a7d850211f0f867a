"""The settings of a search: what all of its runs share, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.experiments.branching import Trunk
from pycaffe_clr.experiments.clue_kinds import number
from pycaffe_clr.experiments.curves import ITERATION
from pycaffe_clr.experiments.curves import LR as RATE
from pycaffe_clr.experiments.range_test import default_iterations
from pycaffe_clr.experiments.search_plan import BATCH, LR, MOMENTUM, WEIGHT_DECAY, Value
from pycaffe_clr.experiments.trials import (
    Base,
    momentum_fields,
    one_cycle,
    plain,
    rising_rate,
)

# Part of a 1cycle run that each of its two steps takes; the rest is for the small rates.
STEP_SHARE = 0.45


@dataclass(frozen=True)
class Plan:
    """All settings of a search but the values: what every run shares.

    lr: lowest and highest rate. momentum: one value, or from and to over the run. trunk: the run
    that all branch off from, or None. iterations: of each run, after the trunk. cycle: the rate
    goes up and down again, a whole 1cycle run, instead of up only.
    """

    vary: str
    base: Base
    lr: tuple[float, float]
    iterations: int
    momentum: tuple[float, ...]
    tests: int
    seed: int
    cycle: bool = False
    trunk: Trunk | None = None

    @property
    def x_name(self) -> str:
        """What the curves are drawn and read over: the rate where it rises."""
        constant = self.lr[0] == self.lr[1]
        return ITERATION if self.cycle or self.vary == LR or constant else RATE

    def settings(self, value: Value, length: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Solver fields and RunSpec fields of a value; length: iterations of the whole run."""
        (low, high), momentum = self.lr, self.momentum
        if self.vary == MOMENTUM:
            momentum = value if isinstance(value, tuple) else (value,)
        elif self.vary == LR and not isinstance(value, tuple):
            # Without a cycle: constant.
            low, high = (plain(value * low / high) if self.cycle else value), value
        rise = max(1, int(STEP_SHARE * length)) if self.cycle else length
        sets = one_cycle(low, high, rise) if self.cycle else rising_rate(low, high, rise)
        sets |= momentum_fields(momentum, rise)
        if self.vary == WEIGHT_DECAY:
            sets["weight_decay"] = value
        return sets, {"seed": self.seed}


def make_plan(
    base: Base,
    vary: str,
    min_lr: float | None,
    max_lr: float | None,
    iterations: int | None,
    momentum: Sequence[float] | None,
    tests: int,
    cycle: bool,
    fields: dict[str, Any],
) -> Plan:
    """The plan of a search; what is None is as the solver has it."""
    high = base.lr[1] if max_lr is None else max_lr
    # A highest rate that is given moves the lowest with it.
    low = plain(base.lr[0] * high / base.lr[1]) if min_lr is None else min_lr
    return Plan(
        vary=vary,
        base=base,
        lr=(low, high),
        iterations=default_iterations(base) // 2 if iterations is None else iterations,
        momentum=tuple(base.momentum if momentum is None else momentum),
        tests=tests,
        seed=int(fields.get("seed") or 1),
        cycle=cycle or vary == BATCH,
    )


def check(
    made: Plan, rounds: int, from_snapshot: str | Path | None, snapshot_at: int | None
) -> None:
    """Raise ConfigError for what cannot be searched so."""
    if not 0 < made.lr[0] <= made.lr[1] < math.inf:
        raise ConfigError(
            f"learning rates must rise from above 0, not {made.lr[0]} to {made.lr[1]}"
        )
    if made.iterations < 10 or made.tests < 10:
        raise ConfigError("iterations and tests must be 10 or more")
    if len(made.momentum) not in (1, 2):
        raise ConfigError("momentum takes one value, or from and to")
    if rounds < 0 or (rounds and made.vary in (MOMENTUM, BATCH)):
        raise ConfigError(f"--rounds {rounds}: only weight_decay and lr are bisected")
    if from_snapshot is not None and snapshot_at is not None:
        raise ConfigError("--from-snapshot and --snapshot-at exclude each other")
    if made.cycle and (from_snapshot is not None or snapshot_at is not None):
        raise ConfigError("whole cycles, as for batch sizes, are compared from scratch")


def opening(made: Plan) -> str:
    """What all runs of a search have in common, in words."""
    rates = " to ".join(dict.fromkeys(number(rate) for rate in made.lr))
    momenta = " to ".join(number(m) for m in made.momentum)
    shared = {
        LR: f"momentum {momenta}",
        MOMENTUM: f"learning rate {rates}",
    }.get(made.vary, f"learning rate {rates}, momentum {momenta}")
    return f"{made.base.name}: {made.vary}, runs of {made.iterations} iterations, {shared}"
