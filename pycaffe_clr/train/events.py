"""What a training session tells while it runs, and who listens. Needs no compiled code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


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
    """One finished iteration. loss: as the core returns it, smoothed: as Caffe displays it."""

    iteration: int
    loss: float
    smoothed: float
    lr: float
    momentum: float
    outputs: list[tuple[str, float]] = field(default_factory=list)


class Listener:
    """What a session tells while it runs. Here every method does nothing."""

    def rows(self, rows: Sequence[Row]) -> None:
        """Iterations were finished."""

    def testing(self) -> None:
        """The test nets are about to be tested."""

    def tested(self, result: TestResult) -> None:
        """A test net was tested."""

    def snapshotted(self, weights: Path, state: Path) -> None:
        """A snapshot was written."""

    def idle(self) -> None:
        """Called between iterations, several times a second where they are short.

        The session stands at the beginning of an iteration, before its tests: a place for
        checkpoints.
        """
