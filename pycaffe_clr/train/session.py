"""Session: Caffe's Solver over a core solver. Tests, displays, snapshots, in Caffe's order."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from pycaffe_clr.engine import loss_weights, ready_core
from pycaffe_clr.errors import DataError, EngineError
from pycaffe_clr.prototxt import SolverNets, solver_nets
from pycaffe_clr.train import debug as debug_info
from pycaffe_clr.train import positions, snapshots
from pycaffe_clr.train.events import Listener, Row, TestResult
from pycaffe_clr.train.log import CaffeLog, number
from pycaffe_clr.train.nets import build_nets
from pycaffe_clr.train.schedule import core_settings
from pycaffe_clr.train.state import State, check_arrays, views
from pycaffe_clr.weights import load_weights, read_weights, save_weights


class Session:
    """A solver with its nets, ready to go on from `iteration`.

    solver: SolverParameter as read_solver gives it. path: its file, against which `net:` resolves.
    nets: what solver_nets gave for it, where it was called already. fuse: build the fast plans.
    log: where Caffe's lines go. folder: where a relative snapshot_prefix counts from. Raises
    ConfigError and DataError.
    """

    def __init__(
        self,
        solver: Any,
        *,
        path: str | Path | None = None,
        nets: SolverNets | None = None,
        defines: Mapping[str, str] | None = None,
        device: str = "cpu",
        fuse: bool = True,
        seed: int = 1,
        replicas: int | None = None,
        data_dir: str | Path | None = None,
        folder: str | Path = "",
        log: CaffeLog | None = None,
        listener: Listener | None = None,
    ) -> None:
        self.param = solver
        self.log = log or CaffeLog()
        self.listener = listener or Listener()
        self.folder = Path(folder)
        self.seed = seed
        self.replicas = replicas or (solver.replicas if solver.HasField("replicas") else 1)
        train, tests, self.records = build_nets(
            solver,
            nets or solver_nets(solver, path, defines),
            self.log,
            device=device,
            fuse=fuse,
            seed=seed,
            replicas=self.replicas,
            data_dir=data_dir,
        )
        self.train_param, self.net, self.feeds = train
        self.test_params = [test.param for test in tests]
        self.test_nets = [test.net for test in tests]
        self.test_feeds = [test.feeds for test in tests]
        self.core = ready_core().Solver(self.net, core_settings(solver))
        self._weights_of = {id(n): loss_weights(n) for n in [self.net, *self.test_nets]}
        self.losses: deque[float] = deque(maxlen=max(1, solver.average_loss))
        self.stopping = False
        self.test_interrupted = False
        self._snapshot_wanted = False
        # Called before each iteration, and between its gradients and its update.
        self.callbacks: list[tuple[Callable[[], None], Callable[[], None]]] = []
        # When the last display was, on the clock, and at which iteration.
        self.displayed = (time.monotonic(), 0)
        self._tested_at = -1
        for weights in solver.weights:
            self.load(weights)
        self.log.write("Solver scaffolding done.", "solver.cpp:56")

    @property
    def iteration(self) -> int:
        """Updates made so far."""
        return int(self.core.iteration)

    @property
    def smoothed_loss(self) -> float:
        """Mean loss of the last `average_loss` iterations; nan before the first."""
        return sum(self.losses) / len(self.losses) if self.losses else math.nan

    @property
    def batch(self) -> int:
        """Samples of one update, all replicas together; 0 for a net without blobs."""
        return positions.samples_per_pass(self.net) * int(self.param.iter_size)

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
        self.log.write(f"Solving {self.train_param.name}", "solver.cpp:272")
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
            if self._test_due(at):
                self.test_all()
                if self.stopping:
                    self.listener.idle()
                    break
            display = bool(self.param.display) and at % self.param.display == 0
            if display or self.callbacks:
                self._iteration(display)
            else:
                self._burst(min(end, self._next_event(at)) - at, burst_seconds)
            due = self.param.snapshot and self.iteration % self.param.snapshot == 0
            if self._snapshot_wanted or (due and self.iteration > at):
                self._snapshot_wanted = False
                self.snapshot()
            self.listener.idle()

    def _test_due(self, iteration: int) -> bool:
        interval = self.param.test_interval
        if not interval or iteration % interval or iteration == self._tested_at:
            return False
        return iteration > 0 or self.param.test_initialization

    def _next_event(self, iteration: int) -> int:
        """The first iteration after this one at which something is due before it or after it."""
        periods = [self.param.display, self.param.test_interval, self.param.snapshot]
        return min(((iteration // p + 1) * p for p in periods if p), default=iteration + (1 << 20))

    def _burst(self, count: int, seconds: float) -> None:
        first = self.iteration
        losses, _, diverged = self.core.run(count, seconds)
        schedule = self.core.schedule
        rows = []
        for iteration, loss in enumerate(losses[:-1] if diverged else losses, first):
            self.losses.append(loss)
            lr, momentum = schedule.lr(iteration), schedule.momentum(iteration)
            rows.append(Row(iteration, loss, self.smoothed_loss, lr, momentum))
        self._log_steps(first, first + len(rows))
        self.listener.rows(rows)
        if diverged:
            self._diverged(losses[-1])

    def _iteration(self, display: bool) -> None:
        """One iteration under Python's eyes."""
        at = self.iteration
        for on_start, _ in self.callbacks:
            on_start()
        debug = display and self.param.debug_info
        if debug:
            loss = debug_info.forward_backward(self.log, self.net, self.param.iter_size)
        else:
            loss = self.core.forward_backward()
        if not math.isfinite(loss):
            self._diverged(loss)
        self.losses.append(loss)
        row = Row(at, loss, self.smoothed_loss, self.core.lr, self.core.momentum)
        if display:
            self._display(row)
        else:
            self._log_steps(at, at + 1)
        for _, on_gradients in self.callbacks:
            on_gradients()
        before = debug_info.param_means(self.net) if debug else []
        self.core.apply_update()
        if debug:
            debug_info.log_update(self.log, self.net, before)
        self.listener.rows([row])

    def _display(self, row: Row) -> None:
        now = time.monotonic()
        before, since = self.displayed
        count = row.iteration - since
        self.log.display(row.iteration, row.smoothed, count, now - before, self.param.display)
        self.displayed = (now, row.iteration)
        row.outputs = self.outputs(self.net)
        self.log.outputs("Train", row.outputs, self._weights_of[id(self.net)])
        self._log_steps(row.iteration, row.iteration + 1)
        self.log.rates(row.iteration, row.lr, row.momentum, self.param.weight_decay)

    def _log_steps(self, begin: int, end: int) -> None:
        """Say where the updates of these iterations took steps of a multistep policy."""
        if self.param.lr_policy != "multistep":
            return
        schedule = self.core.schedule
        step = schedule.current_step(begin)
        # Its value before an update; most often there is nothing to find.
        if schedule.current_step(end) == step:
            return
        for iteration in range(begin, end):
            after = schedule.current_step(iteration + 1)
            if after != step:
                self.log.multistep(iteration, after)
            step = after

    def _diverged(self, loss: float) -> NoReturn:
        message = (
            f"iteration {self.iteration}: the loss is {loss}; the run has diverged at "
            f"lr = {number(self.core.lr)}, momentum = {number(self.core.momentum)}"
        )
        self.log.write(message, "solver.cpp:218", "E")
        self.log.flush()
        raise Diverged(
            message + ". Earlier snapshots are untouched. Try a smaller max_lr or base_lr, "
            "a longer stepsize, or clip_gradients"
        )

    # --- tests ----------------------------------------------------------------------------------

    def outputs(self, net: Any) -> list[tuple[str, float]]:
        """(blob, value) of every element of a net's outputs, in order."""
        return [(name, float(value)) for name in net.outputs() for value in net.read(name)]

    def test_all(self) -> list[TestResult]:
        """Test every test net; databases go on where the last test left them.

        Where the run is stopped meanwhile the nets go back to where they stood before.
        """
        self.listener.testing()
        nets = list(zip(self.test_nets, self.test_feeds, strict=True))
        before = [positions.capture(net, feeds) for net, feeds in nets]
        results: list[TestResult] = []
        for index in range(len(self.test_nets)):
            result = self.test(index)
            if result is None:
                for (net, feeds), place in zip(nets, before, strict=True):
                    positions.restore(net, feeds, place)
                self.test_interrupted = True
                return results
            results.append(result)
        self._tested_at = self.iteration
        self.test_interrupted = False
        self.listener.tests_done()
        return results

    def test(self, index: int) -> TestResult | None:
        """Test one net over its test_iter batches; None if the run was stopped meanwhile."""
        begin = time.monotonic()
        net = self.test_nets[index]
        iterations = self.param.test_iter[index]
        self.log.testing(self.iteration, index)
        self.log.flush()
        sums, loss, _ = net.test(iterations, lambda: not self.stopping)
        if self.stopping:
            self.log.write("Test interrupted.", "solver.cpp:362")
            return None
        outputs = mean_outputs(net, sums, iterations)
        if self.param.test_compute_loss:
            self.log.write(f"Test loss: {number(loss / iterations)}", "solver.cpp:383")
        self.log.outputs("Test", outputs, self._weights_of[id(net)])
        seconds = time.monotonic() - begin
        result = TestResult(self.iteration, index, outputs, loss / iterations, seconds)
        self.listener.tested(result)
        return result

    # --- snapshots ------------------------------------------------------------------------------

    def snapshot(self) -> tuple[Path, Path]:
        """Write weights, then solver state, each whole or not at all; their paths.

        The log names them as the solver's prefix does, so that a run's folder can be moved. Raises
        DataError; earlier snapshots stay whole.
        """
        param = self.param
        hdf5 = param.snapshot_format == 0
        names = snapshots.names(param.snapshot_prefix, self.iteration, hdf5)
        self.log.snapshot(*names, hdf5)
        weights, state = (self.folder / name for name in names)
        save_weights(weights, self.net, self.train_param, param.snapshot_diff, hdf5)
        snapshots.write_state_of(self.net, self.core, state, weights, hdf5)
        self.log.flush()
        self.listener.snapshotted(weights, state)
        return weights, state

    def restore(self, path: str | Path, from_first_record: bool = False) -> None:
        """Go on from a .solverstate and the weights it names.

        Data layers go on where a run of the same settings stood at that iteration, or at record 0
        as Caffe's do (from_first_record). Everything is checked before anything is changed. Raises
        DataError.
        """
        kind = core_settings(self.param)["type"]
        state, learned = snapshots.read(Path(path), self.net, self.core, kind)
        if learned is not None:
            load_weights(self.net, read_weights(learned), str(learned))
        self.log.write(f"Restoring previous solver status from {path}", "solver.cpp:277")
        snapshots.set_history(self.net, self.core, state)
        self.core.restore(state.iter, state.current_step)
        self.displayed = (time.monotonic(), state.iter)
        self.log.write("SGDSolver: restoring history", "sgd_solver.cpp:448")
        if not from_first_record:
            self.seek(self.iteration)

    def state(self) -> State:
        """Everything that a session needs to go on from here. The arrays are views."""
        elapsed = time.monotonic() - self.displayed[0]
        train, *tests = [positions.capture(net, feeds) for net, feeds in self._placed()]
        return State(
            self.iteration,
            int(self.core.current_step),
            train,
            tests,
            list(self.losses),
            elapsed,
            self.displayed[1],
            views(self.net, self.core),
            self.param.type,
        )

    def set_state(self, state: State, name: str) -> None:
        """Stand where a session stood when it gave the state. name: what errors call the state.

        Everything is checked before anything is changed. Raises DataError where it is of another
        net or solver type.
        """
        if state.type not in ("", self.param.type):
            raise DataError(
                f"{name}: is of a {state.type} solver, this is one of {self.param.type}"
            )
        own = views(self.net, self.core)
        check_arrays(state.arrays, own, name)
        places = [state.train, *state.tests]
        if len(places) != 1 + len(self.test_nets):
            raise DataError(f"{name}: is of a run with {len(state.tests)} test nets")
        for (_, feeds), place in zip(self._placed(), places, strict=True):
            positions.check(feeds, place)
        for (net, feeds), place in zip(self._placed(), places, strict=True):
            positions.restore(net, feeds, place)
        self.core.restore(state.iteration, state.current_step)
        self.displayed = (time.monotonic() - state.since_display, state.displayed_at)
        self.losses.extend(state.losses)
        for key, array in own.items():
            array[...] = state.arrays[key]

    def _placed(self) -> list[tuple[Any, dict[str, Any]]]:
        """Every net with its feeds, the train net first."""
        tests = zip(self.test_nets, self.test_feeds, strict=True)
        return [(self.net, self.feeds), *tests]

    def seek(self, iteration: int) -> None:
        """Put every data layer where a run that was never stopped has it at this iteration."""
        positions.seek(self.net, self.feeds, iteration * self.param.iter_size)
        interval = self.param.test_interval
        # Tests before the iterations 0, interval, 2 * interval, ... below this one.
        tests = math.ceil(iteration / interval) if interval else 0
        if tests and not self.param.test_initialization:
            tests -= 1
        for index, net in enumerate(self.test_nets):
            passes = tests * self.param.test_iter[index]
            positions.seek(net, self.test_feeds[index], passes)

    def load(self, weights: str | Path) -> None:
        """Start from the weights of a .caffemodel (several: separated by commas)."""
        for each in str(weights).split(","):
            load_weights(self.net, read_weights(each), each)
            self.log.write(f"Finetuning from {each}", "caffe.cpp:155")


class Diverged(EngineError):
    """The loss is no longer a number."""


def mean_outputs(net: Any, sums: Sequence[Sequence[float]], passes: int) -> list[tuple[str, float]]:
    """(blob, mean) of every element of a test net's outputs. sums: as core Net.test gives them."""
    return [
        (name, value / passes)
        for name, values in zip(net.outputs(), sums, strict=True)
        for value in values
    ]


__all__ = ["Diverged", "Listener", "Row", "Session", "TestResult", "core_settings"]
