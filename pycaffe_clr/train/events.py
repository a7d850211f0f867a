"""What a training session tells while it runs, and who listens. Needs no compiled code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pycaffe_clr.errors import ConfigError

if TYPE_CHECKING:
    from pycaffe_clr._core import Net
    from pycaffe_clr.train.result import RunResult
    from pycaffe_clr.train.run_folder import RunFolder
    from pycaffe_clr.train.session import Session
    from pycaffe_clr.train.spec import RunSpec


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
    """One finished iteration. loss: as the core returns it, smoothed: as Caffe displays it.

    outputs: those of the train net, where the iteration was displayed; else empty.
    """

    iteration: int
    loss: float
    smoothed: float
    lr: float
    momentum: float
    outputs: list[tuple[str, float]] = field(default_factory=list)


@dataclass
class Snapshot:
    """A snapshot that was written: its iteration and its two files."""

    iteration: int
    weights: Path
    state: Path


class Run(Protocol):
    """What callbacks are told of the run they belong to. seconds: of training so far."""

    spec: RunSpec
    folder: RunFolder
    session: Session

    @property
    def iteration(self) -> int:
        """Updates made so far."""

    @property
    def seconds(self) -> float:
        """Seconds of training so far, tests included, over all resumes."""

    def stop(self, reason: str = "") -> None:
        """End the run for good after the current iteration, or test."""


class Listener:
    """What a session tells while it runs. Here every method does nothing.

    Of a run's callbacks rows, tested and snapshotted may return "stop", or "stop: REASON".
    """

    # A method for when an iteration's gradients lie in the train net, a core net, and its update
    # comes next. What it writes to net.param_diff(i), i in net.learnable(), counts; under iter_size
    # these are sums, which the update divides.
    gradients: Callable[[Net], None] | None = None

    def started(self, run: Run) -> None:
        """A run begins or goes on, told to callbacks. run: has stop(reason), iteration, folder,
        spec and session."""

    def rows(self, rows: Sequence[Row]) -> None:
        """Iterations were finished."""

    def testing(self) -> None:
        """The test nets are about to be tested."""

    def tested(self, result: TestResult) -> None:
        """A test net was tested."""

    def tests_done(self) -> None:
        """All test nets were tested."""

    def snapshotted(self, weights: Path, state: Path) -> None:
        """A snapshot was written."""

    def idle(self) -> None:
        """Called between iterations, several times a second where they are short.

        The session stands at the beginning of an iteration, before its tests: a place for
        checkpoints.
        """

    def ended(self, result: RunResult) -> None:
        """A run is over, told to callbacks. result: the RunResult."""


# An object with any of Listener's methods, or a function that is called with every Row, TestResult
# and Snapshot.
Callback = Any
_EVENTS = "started rows gradients testing tested tests_done snapshotted idle ended".split()


class Callbacks(Listener):
    """Hands the events of a run on to its callbacks. Raises ConfigError for what is no callback."""

    def __init__(self, callbacks: Iterable[Callback]) -> None:
        # Set by the first event, `started`.
        self._run: Run
        self._objects: list[Any] = []
        self._functions: list[Callable[[Any], Any]] = []
        if not isinstance(callbacks, Iterable):
            raise ConfigError(f"callbacks takes a list of them, not {callbacks!r}")
        for callback in callbacks:
            if any(hasattr(callback, name) for name in _EVENTS):
                self._objects.append(callback)
            elif callable(callback):
                self._functions.append(callback)
            else:
                raise ConfigError(
                    f"callback {callback!r}: is no function and has none of {', '.join(_EVENTS)}"
                )
        if any(getattr(each, "gradients", None) for each in self._objects):
            self.gradients = partial(self._tell, "gradients")

    def _tell(self, name: str, *values: Any) -> None:
        for each in self._objects:
            method = getattr(each, name, None)
            if method is not None:
                self._answer(method(*values))

    def _call(self, event: Any) -> None:
        for function in self._functions:
            self._answer(function(event))

    def _answer(self, answer: Any) -> None:
        if isinstance(answer, str) and answer.startswith("stop"):
            self._run.stop(answer[len("stop") :].lstrip(": "))

    def started(self, run: Run) -> None:
        self._run = run
        self._tell("started", run)

    def rows(self, rows: Sequence[Row]) -> None:
        self._tell("rows", rows)
        if self._functions:
            for row in rows:
                self._call(row)

    def testing(self) -> None:
        self._tell("testing")

    def tested(self, result: TestResult) -> None:
        self._tell("tested", result)
        self._call(result)

    def tests_done(self) -> None:
        self._tell("tests_done")

    def snapshotted(self, weights: Path, state: Path) -> None:
        self._tell("snapshotted", weights, state)
        self._call(Snapshot(self._run.iteration, weights, state))

    def idle(self) -> None:
        self._tell("idle")

    def ended(self, result: RunResult) -> None:
        self._tell("ended", result)
