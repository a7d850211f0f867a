"""Learning rate and momentum of a solver, by iteration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pycaffe_clr.core_types import SolverSettings
from pycaffe_clr.engine import ready_core
from pycaffe_clr.prototxt import message_tree

if TYPE_CHECKING:
    from pycaffe_clr.proto import SolverParameter

# What the core solver reads of a SolverParameter.
CORE_FIELDS = tuple(SolverSettings.__annotations__)


def core_settings(solver: SolverParameter) -> SolverSettings:
    """The fields of a SolverParameter that the core solver reads, by name; unset ones left out."""
    tree = message_tree(solver)
    settings = {name: tree[name] for name in CORE_FIELDS if name in tree}
    settings.setdefault("type", "SGD")
    return cast(SolverSettings, settings)


class Schedule:
    """Learning rate and momentum of a solver, as functions of the iteration.

    solver: a SolverParameter, the path of a solver prototxt, or a dict of its fields.
    Raises ConfigError for an unknown policy and for settings that it cannot use.
    """

    def __init__(self, solver: SolverParameter | str | Path | Mapping[str, Any]) -> None:
        if isinstance(solver, str | Path):
            from pycaffe_clr.prototxt import read_solver

            solver = read_solver(solver)
        fields = dict(solver) if isinstance(solver, Mapping) else core_settings(solver)
        self._core = ready_core().Schedule(cast(SolverSettings, fields))

    def lr(self, iteration: int) -> float:
        """Learning rate of the update made at `iteration`, counted from 0. A float32 value."""
        return float(self._core.lr(iteration))

    def momentum(self, iteration: int) -> float:
        """Momentum of that update. A float32 value."""
        return float(self._core.momentum(iteration))

    def current_step(self, iteration: int) -> int:
        """Steps that step and multistep have taken before the update made at `iteration`."""
        return int(self._core.current_step(iteration))

    def restore(self, iteration: int, current_step: int) -> None:
        """Go on from a snapshot: a multistep run has passed `current_step` steps by then."""
        self._core.restore(iteration, current_step)
