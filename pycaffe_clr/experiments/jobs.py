"""What a queue of runs is made of: a job, what is told of it while it runs, how it ended."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pycaffe_clr.train.result import FINAL_STATES
from pycaffe_clr.train.spec import RunSpec


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run to be made, or gone on with.

    name: what the screen calls it, unique in a queue. spec: the run; it needs `out`. seconds: how
    long it will take, nan where that is not known. memory: bytes it will need, 0 where not known.
    iterations: that it makes, 0 where not known. after: the name of the job whose snapshot it
    starts from, or None. watch: MODULE:NAME of what makes a callback of the run, given its folder.
    """

    name: str
    spec: RunSpec
    seconds: float = math.nan
    memory: int = 0
    iterations: int = 0
    after: str | None = None
    watch: str | None = None

    @property
    def folder(self) -> Path:
        """Where the run lies."""
        return Path(str(self.spec.out))


@dataclass(frozen=True)
class Event:
    """Something that a job's process tells.

    kind: "running" (values: iteration, max_iter, loss, accuracy: what is known), "log" (text, a
    line of the run's log), "begun" (on a cluster: host, pid, and whether again) or "ended" (state,
    reason, iteration, ...: fields of Outcome).
    """

    job: str
    kind: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    state: of the run (see RunResult), "held" where another process writes its folder, "skipped"
    where it was not started. reason: why. seconds: that this process spent on it. final_accuracy,
    whole_accuracy: fractions, nan where there is none. memory: most bytes that it held. known: it
    was final already, nothing was done.
    """

    job: Job
    state: str
    reason: str = ""
    iteration: int = 0
    max_iter: int = 0
    seconds: float = 0.0
    final_accuracy: float = math.nan
    whole_accuracy: float = math.nan
    memory: int = 0
    known: bool = field(default=False, compare=False)

    @property
    def final(self) -> bool:
        """Whether the run is done: finished, ended early or diverged."""
        return self.state in FINAL_STATES

    @property
    def diverged(self) -> bool:
        """Whether the loss stopped being a number."""
        return self.state == "diverged"
