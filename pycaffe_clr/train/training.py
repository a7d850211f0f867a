"""A solver in training: its nets, the core solver, its log and listener, and how far it is."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pycaffe_clr.engine import ready_core
from pycaffe_clr.train import positions
from pycaffe_clr.train.events import Listener
from pycaffe_clr.train.log import CaffeLog
from pycaffe_clr.train.nets import Nets
from pycaffe_clr.train.schedule import core_settings

if TYPE_CHECKING:
    from pycaffe_clr._core import Group
    from pycaffe_clr.proto import SolverParameter


class Training:
    """What iterations, tests and snapshots work on.

    group: those with whom the net is trained; None: nobody.

    param: the SolverParameter, which may be changed between iterations. core: the core solver; with
    other settings another one takes its place. callbacks: functions called before each iteration,
    and between its gradients and its update. stopping: the run shall end.
    """

    def __init__(
        self,
        solver: SolverParameter,
        nets: Nets,
        folder: Path,
        log: CaffeLog,
        listener: Listener,
        group: Group | None = None,
    ) -> None:
        self.param = solver
        self.log = log
        self.listener = listener
        self.folder = folder
        self.train = nets.train
        self.tests = nets.tests
        self.net, self.feeds = nets.train.net, nets.train.feeds
        self.test_nets = [test.net for test in nets.tests]
        self.records = nets.records
        self.group = group
        self.core = ready_core().Solver(self.net, core_settings(solver), group)
        self.losses: deque[float] = deque(maxlen=max(1, solver.average_loss))
        self.stopping = False
        self.callbacks: list[tuple[Callable[[], None], Callable[[], None]]] = []

    @property
    def iteration(self) -> int:
        """Updates made so far."""
        return self.core.iteration

    @property
    def smoothed_loss(self) -> float:
        """Mean loss of the last `average_loss` iterations; nan before the first."""
        return sum(self.losses) / len(self.losses) if self.losses else math.nan

    @property
    def batch(self) -> int:
        """Samples of one update, all replicas together; 0 for a net without blobs."""
        return positions.samples_per_pass(self.net) * int(self.param.iter_size)

    def remake(self) -> None:
        """Have another core solver go on where this one stands, by `param` and `group` as they are
        now. Raises ConfigError for values that it cannot have; nothing is changed then."""
        old = self.core
        new = ready_core().Solver(self.net, core_settings(self.param), self.group)
        for k in range(new.histories):
            for index in self.net.learnable():
                new.history(index, k)[...] = old.history(index, k)
        new.restore(old.iteration, old.current_step)
        self.core = new
