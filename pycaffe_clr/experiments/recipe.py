"""Section 5's checklist as one study: range test, batch size, momentum, weight decay, a solver.

Each step is a range test or a search in a folder of its own below the recipe's, by short runs, and
uses what the steps before it found. How long the runs are follows from the budget and the time of
a step, which is measured once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.experiments import search_plan as plan
from pycaffe_clr.experiments.clue_kinds import number
from pycaffe_clr.experiments.range_test import (
    RangeTest,
    default_iterations,
    default_rates,
    range_test,
)
from pycaffe_clr.experiments.recipe_choice import (
    LOWEST_MOMENTUM,
    Findings,
    batch_of,
    best_of,
    choose,
    settings_of,
    two_digits,
)
from pycaffe_clr.experiments.recipe_solver import Chosen, write_recipe
from pycaffe_clr.experiments.search import search
from pycaffe_clr.experiments.search_result import Search, Tried
from pycaffe_clr.experiments.step_time import step_seconds
from pycaffe_clr.experiments.trials import Base, Say, Study, base_of, plain

FILE = "recipe.json"
# Momentum at which the test of the rate begins.
FIRST_MOMENTUM = 0.95
# Runs of the recipe, in lengths of one of a search: a range test is twice as long, and the first
# seldom ends at the right rate.
_RUNS = 4 + 3 + len(plan.MOMENTA) + len(plan.WEIGHT_DECAYS) + 2
# What a run costs beside its steps: tests, at most as much again, and building the net.
_OVERHEAD = 1.6
_LEAST, _RANGES = 60, 4
# Accuracies of batch sizes that differ by less are the same, and the net's own batch stays.
_SAME_ACCURACY = 0.002
# A net with more layers that learn is no shallow one: it needs less weight decay (section 5).
_SHALLOW = 8


@dataclass(frozen=True)
class Recipe:
    """What a recipe found. batch: per replica. chosen: by field of the solver. before: the same of
    the given solver."""

    path: Path
    solver: Path
    batch: str
    chosen: dict[str, Chosen]
    before: dict[str, str]


def recipe(
    solver: str | Path,
    *,
    out: str | Path | None = None,
    budget: float = 600.0,
    max_iter: int | None = None,
    max_lr: float | None = None,
    batches: Sequence[int] | None = None,
    jobs: int = 1,
    say: Say | None = None,
    draw: bool = True,
    **fields: Any,
) -> Recipe:
    """Find settings for a solver's net, go on with that, and write SOLVER_recipe.prototxt.

    out: default runs/recipe/SOLVER. budget: seconds for all short runs, about. max_iter: of the
    solver that is written; default: the epochs that the given one has. max_lr: where the first
    range test ends. batches: per replica, to compare; default half, once and twice the net's.
    jobs: runs at a time, in processes of their own. fields: of RunSpec. Raises ConfigError,
    DataError.
    """
    base = base_of(solver, fields)
    folder = Path("runs/recipe") / base.name if out is None else Path(out)
    settings = {
        "budget": budget,
        "max_lr": max_lr,
        "batches": None if batches is None else list(batches),
    }
    growing = {"max_iter": max_iter}
    with Study(folder, FILE, base, settings | growing, fields, list(growing), say) as study:
        cook = _Cook(study, base, {"draw": draw, "jobs": jobs}, fields)
        cook.measure(budget)
        ranged = cook.ranges(max_lr)
        maximum, batched, sizes = cook.batches(two_digits(ranged.rates.maximum), batches)
        return cook.finish(ranged, maximum, batched, sizes, max_iter)


class _Cook:
    """The steps of a recipe, one after the other."""

    def __init__(
        self, study: Study, base: Base, shared: dict[str, Any], fields: dict[str, Any]
    ) -> None:
        self.study = study
        self.base = base
        self.fields = dict(fields)
        self.shared = shared | {"say": study.say}
        self.iterations = 0

    def measure(self, budget: float) -> None:
        """How many iterations a run of the recipe has; measured once, then kept."""
        if "iterations" not in self.study.found:
            seconds = step_seconds(self.study.solver, None, self.study.fields)
            most = default_iterations(self.base)
            affordable = int(budget / (_RUNS * _OVERHEAD * seconds))
            if affordable < _LEAST:
                needed = _LEAST * _RUNS * _OVERHEAD * seconds
                raise ConfigError(
                    f"--budget {budget:.0f}s: allows runs of {affordable} iterations only, at "
                    f"{1000 * seconds:.3g} ms each; too few for a clue. Give {needed:.0f}s or more"
                )
            self.study.save(step_seconds=seconds, iterations=min(most, affordable))
        self.iterations = int(self.study.found["iterations"])
        self.study.say(
            f"A step takes {1000 * self.study.found['step_seconds']:.3g} ms: runs of "
            f"{self.iterations} iterations, about {_RUNS} of them."
        )

    def ranges(self, max_lr: float | None) -> RangeTest:
        """Range tests, until the loss turns well inside the range. Raises ConfigError."""
        self.study.say("\n1. Learning rate: range test")
        high = default_rates(self.base)[1] if max_lr is None else max_lr
        found, upwards = None, 4.0
        for count in range(1, _RANGES + 1):
            found = range_test(
                self.study.solver,
                out=self.study.path / f"range{count}",
                min_lr=plain(high / 100),
                max_lr=high,
                iterations=2 * self.iterations,
                momentum=(FIRST_MOMENTUM, LOWEST_MOMENTUM),
                **self.shared,
                **self.fields,
            )
            rates = found.rates
            self.study.say(rates.sentence)
            if math.isnan(rates.maximum):
                high = plain(high / 10) if found.clues.divergence else plain(high * 10)
            elif not rates.turned:
                high = plain(high * upwards)
            elif rates.maximum < high / 3:
                # The rate has risen too fast to see where the loss turned.
                high, upwards = two_digits(2.5 * rates.maximum), 1.5
            else:
                return found
        assert found is not None
        if math.isnan(found.rates.maximum):
            raise ConfigError(f"{self.study.path}: no learning rate trains. {found.rates.sentence}")
        return found

    def batches(self, maximum: float, batches: Sequence[int] | None) -> tuple[float, Tried, Search]:
        """The maximum rate at which a whole 1cycle run holds, the batch to train with, the search.

        Short runs favour small batches, which make more updates in the same time; the report finds
        large ones better in the end. So one smaller than the net's is taken only if `batches` has
        it. Raises ConfigError where no rate of a few holds.
        """
        self.study.say("\n2. Total batch size: the same time for each")
        own = self.base.pass_batch
        sizes = sorted({max(1, own // 2), own, 2 * own} if batches is None else {own, *batches})

        def with_own(found: Search) -> Tried:
            return next(t for t in found.tried if t.value == own)

        found, maximum = self._held(
            "batch",
            maximum,
            (FIRST_MOMENTUM, LOWEST_MOMENTUM),
            "a whole cycle",
            lambda found: not with_own(found).key(True)[0],
            values=sizes,
        )
        kept = with_own(found)
        allowed = [t for t in found.tried if batches is not None or batch_of(t) >= own]
        better = allowed[0].accuracy - kept.accuracy > _SAME_ACCURACY
        return maximum, allowed[0] if better else kept, found

    def finish(
        self,
        ranged: RangeTest,
        held: float,
        batched: Tried,
        sizes: Search,
        max_iter: int | None,
    ) -> Recipe:
        """Momentum and weight decay, with the batch that was chosen; the solver."""
        own, batch = self.base.pass_batch, batch_of(batched)
        maximum = plan.scaled_rate(held, batch, own)
        if batch != own:
            self.fields["batch"] = batch
        self.study.say("\n3. Momentum")
        # As they are used in the end: a few maxima, falling while the rate rises (section 5.2), and
        # up again: too large a momentum shows only where the rate and the loss come down.
        cycles: dict[str, Any] = {"values": [(high, LOWEST_MOMENTUM) for high in plan.MOMENTA]}
        cycles |= {"cycle": True}
        momenta, maximum = self._trained("momentum", maximum, (FIRST_MOMENTUM,), **cycles)
        best = best_of(momenta).value
        cycle = best if isinstance(best, tuple) else (best, best)
        self.study.say("\n4. Weight decay, with cyclical momentum")
        grid: dict[str, Any] = {"values": self._decays(), "rounds": 2}
        decays, maximum = self._trained("weight_decay", maximum, cycle, **grid)
        found = Findings(
            self.base, ranged, held, batched, sizes, maximum, momenta, cycle, decays, max_iter
        )
        chosen = choose(found)
        name = f"{self.base.name}_recipe"
        head = (
            f"Found for {self.base.name} by `pycaffe_clr recipe`, the checklist of section 5 of "
            f"Smith 2018 (arXiv:1803.09820), in runs of {self.iterations} iterations of batch "
            f"{own}, one seed each. Train it with: pycaffe_clr run {name}.prototxt"
        )
        trial = best_of(decays).run.path
        path = write_recipe(self.study.path, name, trial, self.base.param, chosen, head)
        before = settings_of(self.base)
        self.study.save(
            chosen={c.field: {"value": c.text, "reason": c.reason} for c in chosen.values()},
            batch=batch,
            before=before,
            solver=path.name,
        )
        return Recipe(self.study.path, path, str(batch), chosen, before)

    def _trained(
        self, vary: str, maximum: float, momentum: Sequence[float], **settings: Any
    ) -> tuple[Search, float]:
        """A search in which a value trains, and the maximum rate of its runs: see _held."""

        def trains(found: Search) -> bool:
            return found.best is not None

        return self._held(vary, maximum, momentum, f"every {vary}", trains, **settings)

    def _held(
        self,
        vary: str,
        maximum: float,
        momentum: Sequence[float],
        what: str,
        holds: Callable[[Search], bool],
        **settings: Any,
    ) -> tuple[Search, float]:
        """A search that holds below a maximum rate, and that rate.

        Where it does not, the rate is too large for the runs: half of it is tried. what: diverges
        then, in words. Raises ConfigError where no rate of a few helps.
        """
        seconds: dict[str, float] = {}
        for count in range(1, _RANGES + 1):
            found = search(
                self.study.solver,
                vary,
                out=self.study.path / (vary if count == 1 else f"{vary}{count}"),
                min_lr=plain(maximum / 10),
                max_lr=plain(maximum),
                iterations=self.iterations,
                momentum=momentum,
                seconds=seconds,
                **settings,
                **self.shared,
                **self.fields,
            )
            if holds(found):
                return found, maximum
            self.study.say(f"At rates up to {number(maximum)} {what} diverges: half of that")
            seconds, maximum = found.seconds, two_digits(maximum / 2)
        raise ConfigError(f"{self.study.path}: {what} diverges at every rate tried")

    def _decays(self) -> list[float]:
        """The grid of section 5: larger values for a shallow net."""
        if self.base.layers <= _SHALLOW:
            return [1e-2, 1e-3, 1e-4]
        return [1e-4, 1e-5, 1e-6]
