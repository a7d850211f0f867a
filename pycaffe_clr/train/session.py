"""Session: Caffe's Solver over a core solver. Tests, displays, snapshots, in Caffe's order."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pycaffe_clr.engine import Records, build_net, ready_core
from pycaffe_clr.errors import ConfigError, DataError, EngineError
from pycaffe_clr.net import load_weights, save_weights
from pycaffe_clr.prototxt import SolverNets, format_message, message_tree, solver_nets
from pycaffe_clr.prototxt.weights import SolverState, read_state, read_weights, write_state
from pycaffe_clr.train.log import CaffeLog

_logger = logging.getLogger(__name__)
_CORE_FIELDS = (
    "type lr_policy base_lr max_lr gamma power stepsize max_iter stepvalue momentum "
    "cyclical_momentum weight_decay regularization_type clip_gradients iter_size"
).split()


def core_settings(solver: Any) -> dict[str, Any]:
    """The fields of a SolverParameter that the core solver reads, by name; unset ones left out."""
    tree = message_tree(solver)
    settings = {name: tree[name] for name in _CORE_FIELDS if name in tree}
    settings.setdefault("type", "SGD")
    return settings


class Schedule:
    """Learning rate and momentum of a solver, as functions of the iteration.

    solver: a SolverParameter, the path of a solver prototxt, or a dict of its fields.
    Raises ConfigError for an unknown policy and for settings that it cannot use.
    """

    def __init__(self, solver: Any) -> None:
        if isinstance(solver, str | Path):
            from pycaffe_clr.prototxt import read_solver

            solver = read_solver(solver)
        settings = dict(solver) if isinstance(solver, Mapping) else core_settings(solver)
        self._core = ready_core().Schedule(settings)

    def lr(self, iteration: int) -> float:
        """Learning rate of the update made at `iteration`, counted from 0. A float32 value."""
        return float(self._core.lr(iteration))

    def momentum(self, iteration: int) -> float:
        """Momentum of that update. A float32 value."""
        return float(self._core.momentum(iteration))


@dataclass
class TestResult:
    """One test: output values averaged over test_iter batches, in Caffe's order."""

    iteration: int
    index: int
    outputs: list[tuple[str, float]]
    loss: float
    seconds: float


@dataclass
class Row:
    """One finished iteration. loss: as Caffe displays it; test: results of tests before it."""

    iteration: int
    loss: float
    smoothed: float
    lr: float
    momentum: float
    outputs: list[tuple[str, float]] = field(default_factory=list)


class Listener(Protocol):
    """What a session tells while it runs. All methods have empty defaults in NullListener."""

    def rows(self, rows: Sequence[Row]) -> None: ...
    def tested(self, result: TestResult) -> None: ...
    def snapshotted(self, weights: Path, state: Path) -> None: ...
    def idle(self) -> None: ...


class NullListener:
    """A listener that ignores everything."""

    def rows(self, rows: Sequence[Row]) -> None:
        """Iterations were finished."""

    def tested(self, result: TestResult) -> None:
        """A test net was tested."""

    def snapshotted(self, weights: Path, state: Path) -> None:
        """A snapshot was written."""

    def idle(self) -> None:
        """Called between short runs of iterations: a place for checkpoints and signals."""


class Session:
    """A solver with its nets, ready to go on from `iteration`.

    solver: SolverParameter as read_solver gives it. path: its file, against which `net:` resolves.
    fuse: build the fast plans. log: where Caffe's lines go. Raises ConfigError and DataError.
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
        log: CaffeLog | None = None,
        listener: Listener | None = None,
    ) -> None:
        self.param = solver
        self.log = log or CaffeLog()
        self.listener = listener or NullListener()
        self.seed = seed
        self.replicas = replicas or (solver.replicas if solver.HasField("replicas") else 1)
        self.nets = nets or solver_nets(solver, path, defines)
        self.log.settings(format_message(solver))
        records = Records(data_dir)
        # debug_info looks into every blob, which the fused plan does not keep.
        fuse = fuse and not solver.debug_info
        common: dict[str, Any] = {"device": device, "fuse": fuse, "seed": seed, "records": records}
        self.net, specs, self.feeds = build_net(self.nets.train, replicas=self.replicas, **common)
        self._log_net(self.net, self.nets.train, specs)
        self.test_nets: list[Any] = []
        self.test_feeds: list[dict[str, Any]] = []
        for index, param in enumerate(self.nets.tests):
            net, specs, feeds = build_net(param, index=index + 1, share=self.net, **common)
            self._log_net(net, param, specs)
            self.test_nets.append(net)
            self.test_feeds.append(feeds)
        self.core = ready_core().Solver(self.net, core_settings(solver))
        self._weights_of = {id(n): _loss_weights(n) for n in [self.net, *self.test_nets]}
        self.losses: deque[float] = deque(maxlen=max(1, solver.average_loss))
        self.stopping = False
        self._displayed = (time.monotonic(), 0)
        self._tested_at = -1
        self.log.write("Solver scaffolding done.", "solver.cpp:57")

    @property
    def iteration(self) -> int:
        """Updates made so far."""
        return int(self.core.iteration)

    @property
    def smoothed_loss(self) -> float:
        """Mean loss of the last `average_loss` iterations; nan before the first."""
        return sum(self.losses) / len(self.losses) if self.losses else math.nan

    def stop(self) -> None:
        """End the run after the current iteration. Callable from a signal handler."""
        self.stopping = True
        self.core.request_stop()

    # --- iterations -----------------------------------------------------------------------------

    def solve(self) -> None:
        """Train to max_iter, with a snapshot and the tests at the end (solver.cpp, Solve)."""
        self._displayed = (time.monotonic(), self.iteration)
        self.step(self.param.max_iter - self.iteration)
        if self.param.snapshot_after_train and not self.stopping:
            if not self.param.snapshot or self.iteration % self.param.snapshot:
                self.snapshot()
        if self.stopping:
            self.log.write("Optimization stopped early.", "solver.cpp:323")
            return
        if self.param.display and self.iteration % self.param.display == 0:
            loss = self.net.forward()
            self.losses.append(loss)
            self.log.write(
                f"Iteration {self.iteration}, loss = {self.smoothed_loss:.6g}", "solver.cpp:327"
            )
        if self.param.test_interval and self.iteration % self.param.test_interval == 0:
            self.test_all()
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
                    break
            if self.param.display and at % self.param.display == 0:
                self._display_iteration()
            else:
                self._burst(min(end, self._next_event(at)) - at, burst_seconds)
            if self.param.snapshot and self.iteration % self.param.snapshot == 0:
                if self.iteration > at:
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
        return min(((iteration // p + 1) * p for p in periods if p), default=iteration + (1 << 30))

    def _burst(self, count: int, seconds: float) -> None:
        first = self.iteration
        schedule = [(self.core.lr, self.core.momentum)]
        losses, _, diverged = self.core.run(count, seconds)
        rates = ready_core().Schedule(core_settings(self.param)) if len(losses) > 1 else None
        rows = []
        for offset, loss in enumerate(losses):
            if diverged and offset == len(losses) - 1:
                break
            self.losses.append(loss)
            lr, momentum = (
                schedule[0]
                if rates is None or offset == 0
                else (rates.lr(first + offset), rates.momentum(first + offset))
            )
            rows.append(Row(first + offset, loss, self.smoothed_loss, lr, momentum))
        self.listener.rows(rows)
        if diverged:
            self._diverged(losses[-1])

    def _display_iteration(self) -> None:
        at = self.iteration
        loss = self.core.forward_backward()
        if not math.isfinite(loss):
            self._diverged(loss)
        self.losses.append(loss)
        now = time.monotonic()
        before, since = self._displayed
        self.log.display(at, self.smoothed_loss, at - since, now - before)
        self._displayed = (now, at)
        outputs = self.outputs(self.net)
        self.log.outputs("Train", outputs, self._weights_of[id(self.net)])
        lr, momentum = self.core.lr, self.core.momentum
        if self.param.debug_info:
            self._debug(at)
        self.log.rates(at, lr, momentum, self.param.weight_decay)
        self.core.apply_update()
        self.listener.rows([Row(at, loss, self.smoothed_loss, lr, momentum, outputs)])

    def _diverged(self, loss: float) -> None:
        message = (
            f"iteration {self.iteration}: the loss is {loss}; the run has diverged at "
            f"lr = {self.core.lr:.6g}, momentum = {self.core.momentum:.6g}"
        )
        self.log.write(message, "solver.cpp:239", "E")
        raise EngineError(
            message + ". Earlier snapshots are untouched. Try a smaller max_lr or base_lr, "
            "a longer stepsize, or clip_gradients"
        )

    def _debug(self, iteration: int) -> None:
        from pycaffe_clr.train.debug import log_debug_info

        log_debug_info(self.log, self.net)

    # --- tests ----------------------------------------------------------------------------------

    def outputs(self, net: Any) -> list[tuple[str, float]]:
        """(blob, value) of every element of a net's outputs, in order."""
        return [(name, float(value)) for name in net.outputs() for value in net.read(name)]

    def test_all(self) -> list[TestResult]:
        """Test every test net; databases go on where the last test left them."""
        results = []
        for index in range(len(self.test_nets)):
            result = self.test(index)
            if result is None:
                break
            results.append(result)
        self._tested_at = self.iteration
        return results

    def test(self, index: int) -> TestResult | None:
        """Test one net over its test_iter batches; None if the run was stopped meanwhile."""
        begin = time.monotonic()
        net = self.test_nets[index]
        iterations = self.param.test_iter[index]
        self.log.testing(self.iteration, index)
        sums, loss, done = net.test(iterations, lambda: not self.stopping)
        if done < iterations:
            self.log.write("Test interrupted.", "solver.cpp:379")
            return None
        outputs = [
            (name, value / iterations)
            for name, values in zip(net.outputs(), sums, strict=True)
            for value in values
        ]
        if self.param.test_compute_loss:
            self.log.write(f"Test loss: {loss / iterations:.6g}", "solver.cpp:400")
        self.log.outputs("Test", outputs, self._weights_of[id(net)])
        result = TestResult(
            self.iteration, index, outputs, loss / iterations, time.monotonic() - begin
        )
        self.listener.tested(result)
        return result

    # --- snapshots ------------------------------------------------------------------------------

    def snapshot(self) -> tuple[Path, Path]:
        """Write weights and solver state; both whole or not at all. Raises DataError."""
        hdf5 = self.param.snapshot_format == 0
        end = ".h5" if hdf5 else ""
        stem = f"{self.param.snapshot_prefix}_iter_{self.iteration}"
        weights, state = Path(f"{stem}.caffemodel{end}"), Path(f"{stem}.solverstate{end}")
        self.log.snapshot(str(weights), str(state), hdf5)
        save_weights(weights, self.net, self.nets.train, self.param.snapshot_diff, hdf5)
        write_state(state, self.state(str(weights)), hdf5)
        self.log.flush()
        self.listener.snapshotted(weights, state)
        return weights, state

    def state(self, learned_net: str) -> SolverState:
        """What a .solverstate holds now."""
        history = [np.array(self.core.history(i)) for i in self.net.learnable()]
        return SolverState(self.iteration, learned_net, history, self.core.current_step)

    def restore(self, path: str | Path) -> None:
        """Go on from a .solverstate and the weights it names.

        Everything is checked before anything is changed. Raises DataError.
        """
        path = Path(path)
        state = read_state(path)
        rows = self.net.params()
        learnable = self.net.learnable()
        if len(state.history) != len(learnable):
            raise DataError(
                f"{path}: has {len(state.history)} histories, but this solver "
                f"({core_settings(self.param)['type']}) needs {len(learnable)}; "
                "is it of another net, or of another solver type?"
            )
        for index, array in zip(learnable, state.history, strict=True):
            shape = tuple(rows[index]["shape"])
            if array.size != math.prod(shape):
                raise DataError(
                    f"{path}: history of layer '{rows[index]['layer']}' has shape {array.shape}, "
                    f"but its parameter {rows[index]['index']} has {shape}"
                )
        if state.learned_net:
            learned = Path(state.learned_net)
            if not learned.is_file():
                learned = path.parent / learned.name
            if not learned.is_file():
                raise DataError(
                    f"{path}: its weights {state.learned_net} are not there, nor beside it"
                )
            load_weights(self.net, read_weights(learned), str(learned))
        self.set_state(state)
        self.log.write(f"Restoring previous solver status from {path}", "caffe.cpp:236")

    def set_state(self, state: SolverState) -> None:
        """Take over iteration and histories; shapes must fit."""
        for index, array in zip(self.net.learnable(), state.history, strict=True):
            view = self.core.history(index)
            view[...] = np.asarray(array).reshape(view.shape)
        self.core.restore(state.iter, state.current_step)
        self._displayed = (time.monotonic(), state.iter)

    def load(self, weights: str | Path) -> None:
        """Start from the weights of a .caffemodel (several: separated by commas)."""
        for each in str(weights).split(","):
            load_weights(self.net, read_weights(each), each)
            self.log.write(f"Finetuning from {each}", "caffe.cpp:239")

    def _log_net(self, net: Any, param: Any, specs: Sequence[Mapping[str, Any]]) -> None:
        if self.log.streams:
            shapes = {name: net.shape(name) for name in net.blobs()}
            self.log.net(format_message(param), net.layers(), shapes)


def _loss_weights(net: Any) -> dict[str, float]:
    weights = {}
    for row in net.layers():
        for name, weight in zip(row["tops"], row["loss_weights"], strict=True):
            weights[name] = weight
    return weights


Stop = Callable[[], None]
__all__ = ["ConfigError", "Listener", "NullListener", "Row", "Schedule", "Session", "TestResult"]
