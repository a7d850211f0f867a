"""Searches for weight decay, momentum, batch size or learning rate by short runs.

Source: the report's sections 4.2 (batch sizes at constant time), 4.4 (weight decay, also from a
snapshot, Figure 12) and 5. A run's learning rate rises over its length while its momentum falls,
so that the best rates show as well; what is compared is the test loss early in the training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.experiments import search_plan as plan
from pycaffe_clr.experiments.branching import trunk_of
from pycaffe_clr.experiments.search_plan import BATCH, WEIGHT_DECAY, Value
from pycaffe_clr.experiments.search_result import (
    LAST,
    LAST_OF_CYCLE,
    Search,
    Tried,
    findings,
    judge,
)
from pycaffe_clr.experiments.search_setup import Plan, check, make_plan, opening
from pycaffe_clr.experiments.step_time import iterations_at_constant_time, step_seconds
from pycaffe_clr.experiments.trials import (
    TESTS,
    Say,
    Study,
    Trial,
    base_of,
    frequent_tests,
)

FILE, PICTURE = "search.json", "search.png"
# Why a value was tried; the others were added by bisection.
GIVEN, GRID = "given", "of the grid"


def search(
    solver: str | Path,
    vary: str,
    *,
    values: Sequence[str | float | tuple[float, float]] | None = None,
    out: str | Path | None = None,
    min_lr: float | None = None,
    max_lr: float | None = None,
    iterations: int | None = None,
    momentum: Sequence[float] | None = None,
    rounds: int | None = None,
    cycle: bool = False,
    from_snapshot: str | Path | None = None,
    snapshot_at: int | None = None,
    tests: int = TESTS,
    jobs: int = 1,
    seconds: Mapping[str, float] | None = None,
    say: Say | None = None,
    draw: bool = True,
    **fields: Any,
) -> Search:
    """Search, go on with a search, or read it, and write search.json and search.png.

    values: to try; default a grid for each kind. A later call may give others: those that were run
    stay. rounds: values to add by bisecting the exponent; default 2 for weight decay, else 0.
    cycle: whole 1cycle runs, up and down again, as batch sizes always have; of lr, the value is the
    highest rate. from_snapshot: a .solverstate that all runs go on from. snapshot_at: first one run
    of so many iterations with the middle value, from which the others branch off; 0: to its
    plateau. seconds: of a step, by batch, where they are known. jobs: runs at a time, in processes
    of their own. fields: of RunSpec. Raises ConfigError, DataError.
    """
    if vary not in plan.VARIED:
        raise ConfigError(f"--vary {vary}: unknown; known: {', '.join(plan.VARIED)}")
    base = base_of(solver, fields)
    wanted = plan.parse_values(vary, values) if values else []
    wanted = wanted or plan.first_values(vary, base.pass_batch, max_lr or base.lr[1])
    from_snapshot = None if from_snapshot is None else Path(from_snapshot).absolute()
    rounds = (2 if vary == WEIGHT_DECAY else 0) if rounds is None else rounds
    made = make_plan(base, vary, min_lr, max_lr, iterations, momentum, tests, cycle, fields)
    if snapshot_at == 0:
        # How long the trunk gets is not known before: no rise can be spread over it.
        made = replace(made, lr=(made.lr[1], made.lr[1]))
    check(made, rounds, from_snapshot, snapshot_at)
    settings = {
        "vary": vary,
        "lr": list(made.lr),
        "iterations": made.iterations,
        "momentum": list(made.momentum),
        "tests": tests,
        "cycle": made.cycle,
        "from_snapshot": None if from_snapshot is None else str(from_snapshot),
        "snapshot_at": snapshot_at,
    }
    folder = Path(f"runs/search/{base.name}_{vary}") if out is None else Path(out)
    growing = {"values": [plan.label(v) for v in wanted], "rounds": rounds}
    with Study(folder, FILE, base, settings | growing, fields, list(growing), say) as study:
        study.say(opening(made))
        trunk = trunk_of(study, made, wanted, from_snapshot, snapshot_at)
        searching = _Searching(study, replace(made, trunk=trunk), seconds or {})
        searching.try_all(wanted, GIVEN if values else GRID, jobs)
        searching.bisect(rounds)
        found = searching.found()
        if draw and found.tried:
            from pycaffe_clr.experiments.study_plots import draw_search

            order = sorted(found.tried, key=lambda t: plan.place(t.value))
            best = found.best.label if found.best else None
            title = f"{base.name}: {vary.replace('_', ' ')}"
            curves = {t.label: t.curve for t in order}
            draw_search(curves, folder / PICTURE, title, best, trunk.curve if trunk else None)
    return found


class _Searching:
    """The runs of a search, and what they show."""

    def __init__(self, study: Study, made: Plan, seconds: Mapping[str, float]) -> None:
        self.study = study
        self.plan = made
        self.tried: dict[Value, Tried] = {}
        self.seconds = {**seconds, **study.found.get("step_seconds", {})}

    def try_all(self, values: Sequence[Value], reason: str, jobs: int) -> None:
        """Run values, after those of an earlier call."""
        if self.plan.vary == BATCH:
            self._time([int(v) for v in values if not isinstance(v, tuple)])
        self.study.run_ahead([self._trial(value) for value in values] if jobs > 1 else [], jobs)
        for entry in self.study.found.get("tried", []):
            self._try(plan.parse_values(self.plan.vary, [entry["label"]])[0], entry["reason"])
        for value in values:
            self._try(value, reason)

    def _time(self, batches: Sequence[int]) -> None:
        """Time the steps of batches that were not timed yet, one after the other, and again.

        The best of two that lie apart: what else the machine does at one time counts less.
        """
        sizes = dict.fromkeys([self.plan.base.pass_batch, *batches])
        new = [size for size in sizes if str(size) not in self.seconds]
        found = [[step_seconds(self.study.solver, b, self.study.fields) for b in new] for _ in "12"]
        for size, *times in zip(new, *found, strict=True):
            self.seconds[str(size)] = min(times)
            self.study.say(f"batch {size}: {1000 * min(times):.3g} ms a step")
        self.study.save(step_seconds=self.seconds)

    def bisect(self, rounds: int) -> None:
        """Add up to so many values between, or beyond, the best; those of earlier calls count."""
        added = sum(t.reason not in (GIVEN, GRID) for t in self.tried.values())
        for _ in range(rounds - added):
            scores = {
                float(v): math.inf if t.key(False)[0] else t.score
                for v, t in self.tried.items()
                if not isinstance(v, tuple)
            }
            following = plan.next_value(scores)
            if following is None or following.value in self.tried:
                break
            if following.outwards and self.tried[following.other] in self.found().tied:
                names = [plan.label(v) for v in (following.best, following.other)]
                self.study.say(f"{names[0]} and {names[1]} do not differ: no further value")
                break
            self.study.say(f"{plan.label(following.value)} {following.reason}")
            self._try(following.value, following.reason)

    def found(self) -> Search:
        """The search so far, ranked."""
        by_accuracy = self.plan.vary == BATCH
        order = sorted(self.tried.values(), key=lambda t: t.key(by_accuracy))
        return Search(
            self.study.path, self.plan.vary, tuple(order), by_accuracy, dict(self.seconds)
        )

    def _try(self, value: Value, reason: str) -> None:
        if value in self.tried:
            return
        trial = self._trial(value)
        run = self.study.run(trial)
        share = LAST_OF_CYCLE if self.plan.cycle else LAST
        before = self.plan.trunk.curve if self.plan.trunk else None
        start = None if before is None else before.start
        self.tried[value] = tried = judge(value, run, self.plan.x_name, share, reason, start)
        self.study.say(f"{self.plan.vary} {tried.label}: {_result(tried)}; {tried.clues.label}")
        self.study.save(**findings(self.found()))

    def _trial(self, value: Value) -> Trial:
        made = self.plan
        name = f"{made.vary}_{plan.label(value)}"
        if made.vary == BATCH and not isinstance(value, tuple):
            return self._batch_trial(name, int(value))
        length = made.iterations + (made.trunk.iteration if made.trunk else 0)
        sets, fields = made.settings(value, length)
        if made.trunk:
            fields["snapshot"] = str(made.trunk.state)
        sets |= frequent_tests(made.base, made.iterations, made.tests) | {"max_iter": length}
        return Trial(name, sets, fields)

    def _batch_trial(self, name: str, batch: int) -> Trial:
        """A 1cycle run of a batch, as long in time as that of the net's own batch."""
        made, base = self.plan, self.plan.base
        length = iterations_at_constant_time(
            made.iterations, self.seconds[str(base.pass_batch)], self.seconds[str(batch)]
        )
        low, high = (plan.scaled_rate(rate, batch, base.pass_batch) for rate in made.lr)
        sets, fields = replace(made, lr=(low, high)).settings(float(batch), length)
        of_batch = replace(base, batch=base.batch // base.pass_batch * batch, pass_batch=batch)
        sets |= frequent_tests(of_batch, length, made.tests) | {"max_iter": length}
        return Trial(name, sets, fields | {"batch": batch})


def _result(tried: Tried) -> str:
    return f"test loss {tried.score:.4g}, accuracy {100 * tried.accuracy:.2f} %"
