"""One run to a plateau, whose snapshot the runs of a search branch off from (Figure 12)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pycaffe_clr.errors import DataError
from pycaffe_clr.experiments import search_plan as plan
from pycaffe_clr.experiments.clue_kinds import number
from pycaffe_clr.experiments.clues import read_clues
from pycaffe_clr.experiments.curves import Curve, curve_of
from pycaffe_clr.experiments.trials import Study, Trial, frequent_tests
from pycaffe_clr.experiments.watch import Watch
from pycaffe_clr.train.events import TestResult
from pycaffe_clr.weights.files import read_state

if TYPE_CHECKING:
    from pycaffe_clr.experiments.search_setup import Plan

# A plateau is believed once so many tests were made.
_LEAST_TESTS = 12


@dataclass(frozen=True)
class Trunk:
    """Where the runs of a search begin. state: a .solverstate. curve: of the run that led there."""

    state: Path
    iteration: int
    curve: Curve | None = None


def trunk_of(
    study: Study,
    made: Plan,
    values: Sequence[plan.Value],
    from_snapshot: str | Path | None,
    snapshot_at: int | None,
) -> Trunk | None:
    """The trunk of a search: a snapshot that is there, or one that is made now; None: from scratch.

    snapshot_at: iterations of the trunk; 0: until its test loss is flat, or as long as the runs.
    """
    if from_snapshot is not None:
        path = Path(from_snapshot)
        return Trunk(path, read_state(path).iter)
    if snapshot_at is None:
        return None
    length = snapshot_at or made.iterations
    middle = sorted(values, key=plan.place)
    value = middle[len(middle) // 2]
    sets, fields = made.settings(value, length + (made.iterations if snapshot_at else 0))
    sets |= frequent_tests(made.base, length, made.tests)
    sets |= {"max_iter": length, "snapshot": length, "snapshot_after_train": True}
    trial = Trial(f"trunk_{plan.label(value)}", sets, fields)
    watch = None if snapshot_at else PlateauWatch(study.path / trial.name)
    run = study.run(trial, watch)
    states = sorted(run.path.glob(f"*_iter_{run.iteration}.solverstate*"))
    if not states:
        raise DataError(
            f"{run.path}: {run.state} at iteration {run.iteration} and left no snapshot to branch "
            f"off from. {run.reason}"
        )
    curve = curve_of(run, made.x_name)
    loss = number(float(curve.test_loss[-1])) if len(curve) else "unknown"
    study.say(f"{trial.name}: snapshot at iteration {run.iteration}, test loss {loss}")
    return Trunk(states[0], run.iteration, curve)


class PlateauWatch(Watch):
    """Ends a run, with its snapshot, once its test loss has become flat."""

    def tested(self, result: TestResult) -> str | None:
        """Ask to stop at a plateau, or where the run has diverged."""
        answer = super().tested(result)
        seen = self.seen()
        if answer is not None or seen is None or len(seen) < _LEAST_TESTS:
            return answer
        clues = read_clues(seen)
        flat = clues.bottom is not None and clues.bottom.plateau and clues.convergence is not None
        return "stop: the test loss is flat" if flat and not clues.rises else None
