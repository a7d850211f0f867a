"""The learning rate range test (section 4.1): one run whose rate rises until training breaks down.

Settings as in the author's clrsolver.prototxt: the rate rises linearly over the whole run, and the
net is tested often. Cyclical momentum may fall meanwhile, which stabilizes large rates (section 5).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.experiments.clue_kinds import number
from pycaffe_clr.experiments.clues import Clues, read_clues
from pycaffe_clr.experiments.curves import ITERATION, Curve, curve_of, mean_curve
from pycaffe_clr.experiments.protocol import run_plans
from pycaffe_clr.experiments.rates import Rates, good_start, suggest
from pycaffe_clr.experiments.trials import (
    TESTS,
    Base,
    Say,
    Study,
    Trial,
    base_of,
    fixed_rate,
    frequent_tests,
    momentum_fields,
    plain,
    rising_rate,
)
from pycaffe_clr.train.result import RunResult

FILE, PICTURE = "range.json", "range.png"
# Initial rates of the short runs, as fractions of the maximum; the largest good one ends them.
SHORT_RATES = (1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32)
_SHORT_TESTS = 20


@dataclass(frozen=True)
class RangeTest:
    """What a range test found. short_runs: clues of runs at constant rates, by rate."""

    path: Path
    runs: tuple[RunResult, ...]
    curve: Curve
    clues: Clues
    rates: Rates
    short_runs: Mapping[float, Clues]

    def sentences(self) -> list[str]:
        """All that was found, in words."""
        return self.clues.sentences() + self.rates.sentences()


def default_rates(base: Base) -> tuple[float, float]:
    """Rates to test where none are given: to ten times the solver's highest, from a hundredth.

    Of a solver whose rate only rises, a range test itself: its own.
    """
    param = base.param
    if param.HasField("max_lr") and param.stepsize >= base.max_iter:
        return base.lr
    high = plain(10 * base.lr[1])
    return plain(high / 100), high


def default_iterations(base: Base) -> int:
    """The rise that the solver has itself (its stepsize), or half of its iterations."""
    steps = int(base.param.stepsize) if base.param.HasField("max_lr") else 0
    return max(1, steps or base.max_iter // 2)


def range_test(
    solver: str | Path,
    *,
    out: str | Path | None = None,
    min_lr: float | None = None,
    max_lr: float | None = None,
    iterations: int | None = None,
    momentum: Sequence[float] | None = None,
    runs: int = 1,
    short_runs: int = 0,
    tests: int = TESTS,
    jobs: int = 1,
    say: Say | None = None,
    draw: bool = True,
    **fields: Any,
) -> RangeTest:
    """Run a range test, or go on with it, or read it, and write range.json and range.png.

    out: default runs/range/SOLVER. momentum: one value, or from and to; default the solver's,
    stretched over the run. runs: more than one follow the report's protocol (batches and fillers
    differ a little, see protocol.py), and their mean is read. short_runs:
    iterations of each run of the third rule for the minimum rate; 0: none. jobs: runs at a time,
    in processes of their own. fields: of RunSpec.
    Raises ConfigError, DataError.
    """
    base = base_of(solver, fields)
    low, high = default_rates(base)
    high = high if max_lr is None else max_lr
    low = (low if max_lr is None else plain(high / 100)) if min_lr is None else min_lr
    iterations = default_iterations(base) if iterations is None else iterations
    momentum = tuple(base.momentum if momentum is None else momentum)
    _check(low, high, iterations, momentum, runs, short_runs, tests)
    settings = {
        "min_lr": low,
        "max_lr": high,
        "iterations": iterations,
        "momentum": list(momentum),
        "tests": tests,
    }
    folder = Path("runs/range") / base.name if out is None else Path(out)
    growing = {"runs": runs, "short_runs": short_runs}
    with Study(folder, FILE, base, settings | growing, fields, list(growing), say) as study:
        study.say(
            f"{base.name}: learning rate {number(low)} to {number(high)} in {iterations} "
            f"iterations, {_momentum_words(momentum)}, batch {base.batch}"
        )
        results = _rises(study, base, low, high, iterations, momentum, runs, tests, jobs)
        curve = mean_curve([curve_of(result) for result in results])
        clues = read_clues(curve)
        short = _short_runs(study, base, suggest(clues), momentum[0], short_runs)
        found = RangeTest(folder, tuple(results), curve, clues, suggest(clues, short), short)
        study.save(**_findings(found))
        if draw:
            from pycaffe_clr.experiments.study_plots import draw_range

            draw_range(found, folder / PICTURE, f"{base.name}: learning rate range test")
    return found


def _check(
    low: float,
    high: float,
    iterations: int,
    momentum: Sequence[float],
    runs: int,
    short_runs: int,
    tests: int,
) -> None:
    if not 0 < low < high < math.inf:
        raise ConfigError(
            f"learning rates must rise from a --min-lr above 0 to --max-lr, not {low} to {high}"
        )
    if len(momentum) not in (1, 2) or not all(0 <= value <= 1 for value in momentum):
        raise ConfigError(f"momentum takes one value, or from and to, of 0 to 1; not {momentum}")
    least = {"iterations": (iterations, 10), "runs": (runs, 1), "tests": (tests, 10)}
    for name, (value, smallest) in (least | {"short_runs": (short_runs, 0)}).items():
        if value < smallest:
            raise ConfigError(f"{name} must be {smallest} or more, not {value}")


def _momentum_words(momentum: Sequence[float]) -> str:
    if len(momentum) == 2:
        return f"momentum {number(momentum[0])} to {number(momentum[1])}"
    return f"momentum {number(momentum[0])}"


def _rises(
    study: Study,
    base: Base,
    low: float,
    high: float,
    iterations: int,
    momentum: Sequence[float],
    runs: int,
    tests: int,
    jobs: int,
) -> list[RunResult]:
    sets = rising_rate(low, high, iterations) | momentum_fields(momentum, iterations)
    sets |= frequent_tests(base, iterations, tests) | {"max_iter": iterations}
    seed = study.fields.get("seed", 1)
    trials = [Trial("run", sets, {"seed": seed})]
    if runs > 1:
        plans = run_plans(base.pass_batch, base.replicas, runs=runs)
        trials = [
            Trial(
                f"{runs}runs/{p.name}",
                sets,
                {"seed": seed + p.seed - 1, "batch": p.batch, "filler": p.filler},
            )
            for p in plans
        ]
    study.run_ahead(trials, jobs)
    results = []
    for trial in trials:
        result = study.run(trial)
        study.say(f"{trial.name}: {result.state}; {read_clues(curve_of(result)).label}")
        results.append(result)
    return results


def _short_runs(
    study: Study, base: Base, rates: Rates, momentum: float, iterations: int
) -> dict[float, Clues]:
    """Runs at constant rates from the maximum down, to the first that starts well."""
    found: dict[float, Clues] = {}
    if not iterations or math.isnan(rates.maximum):
        return found
    for fraction in SHORT_RATES:
        rate = float(f"{fraction * rates.maximum:.2g}")
        sets = fixed_rate(rate) | momentum_fields([momentum], 0) | {"max_iter": iterations}
        sets |= frequent_tests(base, iterations, _SHORT_TESTS)
        # The rate is part of the name: another maximum, of more runs, asks for other rates.
        trial = Trial(
            f"short/lr_{rate:g}_{iterations}", sets, {"seed": study.fields.get("seed", 1)}
        )
        found[rate] = read_clues(curve_of(study.run(trial), ITERATION))
        study.say(f"constant rate {number(rate)}, {iterations} iterations: {found[rate].label}")
        if good_start(found[rate]):
            break
    return found


def _findings(found: RangeTest) -> dict[str, Any]:
    curve, rates = found.curve, found.rates
    names = ("x", "test_loss", "train_loss", "accuracy")
    return {
        "runs": [
            {"path": str(r.path), "state": r.state, "iteration": r.iteration} for r in found.runs
        ],
        "curve": {name: getattr(curve, name).tolist() for name in names},
        "clues": found.clues.to_json(),
        "rates": {
            "maximum": rates.maximum,
            "turned": rates.turned,
            "minima": [[m.low, m.high] for m in rates.minima],
            "sentences": rates.sentences(),
        },
        "short_runs": {f"{rate:g}": clues.to_json() for rate, clues in found.short_runs.items()},
    }
