"""pycaffe's solvers, with their names and meaning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycaffe_clr.prototxt import read_solver
from pycaffe_clr.pycaffe.net import Net
from pycaffe_clr.pycaffe.processes import NCCL, solver_count, solver_rank
from pycaffe_clr.pycaffe.settings import Settings, fresh_seed
from pycaffe_clr.train.changes import Changes
from pycaffe_clr.train.log import CaffeLog
from pycaffe_clr.train.session import Session

if TYPE_CHECKING:
    from pycaffe_clr._core import Net as CoreNet

# What only counts for the root solver.
_OF_ROOT = (
    "test_iter",
    "test_interval",
    "test_net",
    "test_net_param",
    "test_state",
    "display",
    "snapshot",
    "debug_info",
)


def _nothing() -> None:
    pass


class Solver:
    """A solver over nets whose blobs can be looked at and written between steps.

    solver_file: a solver prototxt. fuse: the fast plans that `run` uses, in which only inputs and
    outputs can be looked at. precision, replicas, data_dir, defines: as in `pycaffe_clr run`. It
    logs to `log`, or to where init_log says, or not at all. Raises ConfigError for a wrong
    prototxt, DataError for wrong databases.

    `param` may be changed later: rates, periods and the like count from the next iteration on;
    what would come too late (nets, type, seed) raises ConfigError there.
    """

    _type: str | None = None

    def __init__(
        self,
        solver_file: str | Path,
        *,
        device: str | None = None,
        precision: str | None = None,
        fuse: bool = False,
        seed: int | None = None,
        replicas: int | None = None,
        data_dir: str | Path | None = None,
        defines: Mapping[str, str] | None = None,
        log: CaffeLog | None = None,
    ) -> None:
        self.param = read_solver(solver_file, defines)
        if self._type is not None:
            self.param.type = self._type
        if seed is None:
            given = int(self.param.random_seed)
            seed = given if given >= 0 else fresh_seed()
        count, rank = solver_count(), solver_rank()
        if rank > 0:
            # As in Caffe the root solver alone tests, displays and takes snapshots.
            for field in _OF_ROOT:
                self.param.ClearField(field)
            self.param.snapshot_after_train = False
        own = replicas or (self.param.replicas if self.param.HasField("replicas") else 1)
        self._session = Session(
            self.param,
            path=solver_file,
            defines=defines,
            device=device or Settings.device,
            precision=precision,
            fuse=fuse,
            seed=seed,
            replicas=own * count,
            ranks=count,
            rank=rank,
            data_dir=data_dir,
            log=log or Settings.log,
        )
        session = self._session
        self.net = Net.from_core(session.net, session.train.param, session.feeds, fuse)
        self.test_nets = [
            Net.from_core(test.net, test.param, test.feeds, fuse) for test in session.tests
        ]
        self._callbacks: list[tuple[Callable[[], None], Callable[[], None]]] = []
        self._changes = Changes(session, fuse and not self.param.debug_info)

    @property
    def iter(self) -> int:
        """Updates made so far."""
        return self._session.iteration

    @property
    def lr(self) -> float:
        """Learning rate of the next update."""
        self._changes.follow()
        return float(self._session.core.lr)

    @property
    def momentum(self) -> float:
        """Momentum of the next update."""
        self._changes.follow()
        return float(self._session.core.momentum)

    @property
    def core_net(self) -> CoreNet:
        """The engine's train net."""
        return self._session.net

    def add_callback(
        self,
        on_start: Callable[[], None] | NCCL | str,
        on_gradients: Callable[[], None] | None = None,
    ) -> None:
        """Call functions in every iteration: before it, and between gradients and update.

        An NCCL object instead has the gradients of all processes averaged from then on, before
        such functions see them. "": nothing is to be called there.

        on_gradients may read and change the parameters' diffs, which are sums under iter_size. What
        a function raises ends `step`; the iteration is then made anew by the next one, with the
        data that follows.
        """
        if isinstance(on_start, NCCL):
            self._session.join(on_start.group)
            return
        start, gradients = (
            call if callable(call) else _nothing for call in (on_start, on_gradients)
        )
        self._callbacks.append((start, gradients))

    def step(self, count: int) -> None:
        """Make `count` iterations, with the tests, displays and snapshots that fall due."""
        self._begin()
        self._session.step(count)

    def solve(self, resume_file: str | Path | None = None) -> None:
        """Train to max_iter, from a .solverstate if one is given."""
        if resume_file is not None:
            self.restore(resume_file)
        self._begin()
        self._session.solve()

    def _begin(self) -> None:
        """As the beginning of solver.cpp, Step."""
        session, follow = self._session, self._changes.follow
        follow()
        session.losses.clear()
        session.stopping = False
        # Callbacks may change settings, too.
        session.callbacks = [*self._callbacks, (follow, follow)] if self._callbacks else []

    def apply_update(self) -> None:
        """Apply the parameters' diffs as they stand, as one iteration's gradient."""
        self._changes.follow()
        self._session.core.apply_update()

    def snapshot(self) -> None:
        """Write .caffemodel and .solverstate under snapshot_prefix. Raises DataError."""
        self._changes.follow()
        self._session.snapshot()

    def restore(self, state_file: str | Path) -> None:
        """Go on from a .solverstate; databases start at record 0, as Caffe's do."""
        self._changes.follow()
        self._session.restore(state_file, from_first_record=True)

    def share_weights(self, net: Net) -> None:
        """Copy this solver's weights to the net's layers of the same names."""
        net.share_with(self.net)


class SGDSolver(Solver):
    """A solver that follows SGD, whatever type the file names."""

    _type = "SGD"


class NesterovSolver(Solver):
    """A solver that follows Nesterov's momentum, whatever type the file names."""

    _type = "Nesterov"


class AdaGradSolver(Solver):
    """A solver that follows AdaGrad, whatever type the file names."""

    _type = "AdaGrad"


class RMSPropSolver(Solver):
    """A solver that follows RMSProp, whatever type the file names."""

    _type = "RMSProp"


class AdaDeltaSolver(Solver):
    """A solver that follows AdaDelta, whatever type the file names."""

    _type = "AdaDelta"


class AdamSolver(Solver):
    """A solver that follows Adam, whatever type the file names."""

    _type = "Adam"


_SOLVERS: dict[str, type[Solver]] = {
    "SGD": SGDSolver,
    "Nesterov": NesterovSolver,
    "AdaGrad": AdaGradSolver,
    "RMSProp": RMSPropSolver,
    "AdaDelta": AdaDeltaSolver,
    "Adam": AdamSolver,
}


def get_solver(solver_file: str | Path, **settings: Any) -> Solver:
    """The solver of the type that the file names. settings: those of Solver."""
    kind = read_solver(solver_file, settings.get("defines")).type
    return _SOLVERS.get(kind, Solver)(solver_file, **settings)
