"""Settings of a solver that are changed between its iterations, as scripts do by solver.param."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.prototxt.source import Source
from pycaffe_clr.prototxt.validate import validate_solver
from pycaffe_clr.train.schedule import CORE_FIELDS
from pycaffe_clr.train.training import Training

if TYPE_CHECKING:
    from pycaffe_clr.proto import SolverParameter

# What only counts while a solver is made: its nets, where and how they run, its rule.
FIXED = frozenset(
    "net net_param train_net test_net train_net_param test_net_param train_state test_state "
    "solver_mode device_id random_seed type solver_type weights replicas".split()
)
# What the session reads anew each time.
LIVE = frozenset(
    "test_iter test_interval test_compute_loss test_initialization display average_loss snapshot "
    "snapshot_prefix snapshot_diff snapshot_format snapshot_after_train debug_info eval_type "
    "ap_version show_per_class_result".split()
)
# What the core solver was given a copy of.
COPIED = frozenset(CORE_FIELDS) - FIXED
# What nothing reads.
UNUSED = frozenset({"layer_wise_reduce"})


class Changes:
    """Makes a session obey what is written into its `param` after it was made."""

    def __init__(self, session: Training, fused: bool) -> None:
        self._session = session
        self._fused = fused
        self._seen = _copy(session.param)

    def follow(self) -> None:
        """Take over what was changed since the last call.

        Raises ConfigError for a value that a solver cannot have, and for a field that only counts
        while a solver is made; nothing is taken over then.
        """
        param = self._session.param
        if param == self._seen:
            return
        changed = _differences(self._seen, param)
        fixed = sorted(changed & FIXED)
        if fixed:
            raise ConfigError(
                f"solver.param: {', '.join(fixed)} cannot be changed any more: it counts while a "
                "solver is made. Write it into the prototxt, and make another solver"
            )
        self._check(param, changed)
        if changed & COPIED:
            # Refused values come up here, before anything is changed.
            self._session.remake()
        session = self._session
        if "average_loss" in changed:
            session.losses = deque(session.losses, maxlen=param.average_loss)
        self._seen = _copy(param)

    def _check(self, param: SolverParameter, changed: set[str]) -> None:
        validate_solver(param, Source("solver.param"))
        tests = len(self._session.test_nets)
        if "test_iter" in changed and len(param.test_iter) != tests:
            raise ConfigError(
                f"solver.param: test_iter has {len(param.test_iter)} values, but the solver has "
                f"{tests} test nets"
            )
        if "debug_info" in changed and param.debug_info and self._fused:
            raise ConfigError(
                "solver.param: debug_info looks into every blob, which the fused plan does not "
                "keep: make the solver with fuse=False"
            )


def _copy(param: SolverParameter) -> SolverParameter:
    copy = type(param)()
    copy.CopyFrom(param)
    return copy


def _differences(before: SolverParameter, now: SolverParameter) -> set[str]:
    """Names of the fields that are set in one of two messages only, or to another value."""
    sides = [{field.name: value for field, value in each.ListFields()} for each in (before, now)]
    names = sides[0].keys() | sides[1].keys()
    return {name for name in names if sides[0].get(name) != sides[1].get(name)}
