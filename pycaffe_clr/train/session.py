"""Session: Caffe's Solver over a core solver. Tests, displays, snapshots, in Caffe's order."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pycaffe_clr.prototxt import SolverNets, solver_nets
from pycaffe_clr.train import resume, snapshots
from pycaffe_clr.train.events import Listener, TestResult
from pycaffe_clr.train.iterations import Iterations
from pycaffe_clr.train.log import CaffeLog, number
from pycaffe_clr.train.nets import build_nets
from pycaffe_clr.train.state import State
from pycaffe_clr.train.testing import Tests
from pycaffe_clr.train.training import Training
from pycaffe_clr.weights import load_weights, read_weights

if TYPE_CHECKING:
    from pycaffe_clr._core import Group
    from pycaffe_clr.proto import SolverParameter


class Session(Training):
    """A solver with its nets, ready to go on from `iteration`.

    solver: SolverParameter as read_solver gives it. path: its file, against which `net:` resolves.
    nets: what solver_nets gave for it, where it was called already. fuse: build the fast plans.
    replicas: of all ranks together. ranks, rank: of the processes that train it, this one's number.
    group: those processes, who stand where the session does when it begins; or see join. log: where
    Caffe's lines go. folder: where a relative snapshot_prefix counts from. Raises
    ConfigError and DataError.
    """

    def __init__(
        self,
        solver: SolverParameter,
        *,
        path: str | Path | None = None,
        nets: SolverNets | None = None,
        defines: Mapping[str, str] | None = None,
        device: str = "cpu",
        precision: str | None = None,
        fuse: bool = True,
        seed: int = 1,
        replicas: int | None = None,
        ranks: int = 1,
        rank: int = 0,
        group: Group | None = None,
        data_dir: str | Path | None = None,
        folder: str | Path = "",
        log: CaffeLog | None = None,
        listener: Listener | None = None,
    ) -> None:
        log = log or CaffeLog()
        self.seed = seed
        self.replicas = replicas or (solver.replicas if solver.HasField("replicas") else 1)
        built = build_nets(
            solver,
            nets or solver_nets(solver, path, defines),
            log,
            device=device,
            precision=precision,
            fuse=fuse,
            seed=seed,
            replicas=self.replicas,
            ranks=group.ranks if group else ranks,
            rank=group.rank if group else rank,
            data_dir=data_dir,
        )
        super().__init__(solver, built, Path(folder), log, listener or Listener(), group)
        self._iterations = Iterations(self)
        self._tests = Tests(self)
        self._snapshot_wanted = False
        for weights in solver.weights:
            self.load(weights)
        self.log.write("Solver scaffolding done.", "solver.cpp:56")

    def join(self, group: Group) -> None:
        """Sum gradients over a group from now on, whose ranks the session was made for."""
        self.group = group
        self.remake()

    def stop(self) -> None:
        """End the run after the current iteration. Callable from a signal handler."""
        self.stopping = True
        self.core.request_stop()

    def request_snapshot(self) -> None:
        """Have a snapshot after the current iteration. Callable from a signal handler."""
        self._snapshot_wanted = True
        self.core.request_stop()

    # --- iterations -----------------------------------------------------------------------------

    def solve(self) -> None:
        """Train to max_iter, with a snapshot and the tests at the end (solver.cpp, Solve)."""
        self.log.write(f"Solving {self.train.param.name}", "solver.cpp:272")
        self.log.write(f"Learning Rate Policy: {self.param.lr_policy}", "solver.cpp:273")
        self.go_on()

    def go_on(self) -> None:
        """The same without the opening lines, for a run whose log has them already."""
        self.step(self.param.max_iter - self.iteration)
        if self.param.snapshot_after_train:
            if not self.param.snapshot or self.iteration % self.param.snapshot:
                self.snapshot()
        if self.stopping:
            self.log.write("Optimization stopped early.", "solver.cpp:306")
            return
        if self.param.display and self.iteration % self.param.display == 0:
            loss = self.net.forward()
            self.losses.append(loss)
            text = f"Iteration {self.iteration}, loss = {number(self.smoothed_loss)}"
            self.log.write(text, "solver.cpp:310")
        if self.param.test_interval and self.iteration % self.param.test_interval == 0:
            self.test_all()
            if self.stopping:
                return
        self.log.finished()

    def step(self, count: int, burst_seconds: float = 0.25) -> None:
        """Make up to `count` iterations, with the tests, displays and snapshots that fall due.

        burst_seconds: how long the core may run before the listener is asked (idle). Raises
        EngineError where the loss stops being a number: the update is not made then, and no
        snapshot is overwritten.
        """
        end = self.iteration + count
        while self.iteration < end and not self.stopping:
            at = self.iteration
            if self._tests.due(at):
                self.test_all()
                if self.stopping:
                    self.listener.idle()
                    break
            display = bool(self.param.display) and at % self.param.display == 0
            if display or self.callbacks:
                self._iterations.single(display)
            else:
                self._iterations.burst(min(end, self._next_event(at)) - at, burst_seconds)
            due = self.param.snapshot and self.iteration % self.param.snapshot == 0
            if self._snapshot_wanted or (due and self.iteration > at):
                self._snapshot_wanted = False
                self.snapshot()
            self.listener.idle()

    def _next_event(self, iteration: int) -> int:
        """The first iteration after this one at which something is due before it or after it."""
        periods = [self.param.display, self.param.test_interval, self.param.snapshot]
        return min(((iteration // p + 1) * p for p in periods if p), default=iteration + (1 << 20))

    # --- tests ----------------------------------------------------------------------------------

    def test_all(self) -> list[TestResult]:
        """Test every test net; see Tests.all."""
        return self._tests.all()

    def test(self, index: int) -> TestResult | None:
        """Test one net over its test_iter batches; None if the run was stopped meanwhile."""
        return self._tests.one(index)

    @property
    def test_interrupted(self) -> bool:
        """Whether a stop interrupted the last tests; the nets stand where they stood before."""
        return self._tests.interrupted

    # --- snapshots and states -------------------------------------------------------------------

    def snapshot(self) -> tuple[Path, Path]:
        """Write weights and solver state; their paths. Raises DataError; see snapshots.write."""
        weights, state = snapshots.write(self)
        self.listener.snapshotted(weights, state)
        return weights, state

    def restore(self, path: str | Path, from_first_record: bool = False) -> None:
        """Go on from a .solverstate and the weights it names.

        Data layers go on where a run of the same settings stood at that iteration, or at record 0
        as Caffe's do (from_first_record). Everything is checked before anything is changed. Raises
        DataError.
        """
        snapshots.restore(self, Path(path))
        self._iterations.displayed = (time.monotonic(), self.iteration)
        if not from_first_record:
            resume.seek(self, self.iteration)

    def state(self) -> State:
        """Everything that a session needs to go on from here. The arrays are views."""
        return resume.capture(self, self._iterations.displayed)

    def set_state(self, state: State, name: str) -> None:
        """Stand where a session stood when it gave the state; see resume.go_back."""
        self._iterations.displayed = resume.go_back(self, state, name)

    def load(self, weights: str | Path) -> None:
        """Start from the weights of a .caffemodel (several: separated by commas)."""
        for each in str(weights).split(","):
            load_weights(self.net, read_weights(each), each)
            self.log.write(f"Finetuning from {each}", "caffe.cpp:155")
