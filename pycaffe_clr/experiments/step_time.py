"""How long a step takes, and how many iterations a batch can afford in the same time.

Source: the report's section 4.2, which compares batch sizes "by maintaining a near constant
execution time".
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.train.events import Row

# Measured until both are reached; the first burst, in which plans settle, does not count.
_SECONDS, _BURSTS = 1.0, 3
_MOST = 1_000_000


def step_seconds(
    solver: str | Path, batch: int | None, fields: Mapping[str, Any], seconds: float = _SECONDS
) -> float:
    """Seconds of one training step with this batch per replica (None: the net's own).

    The quickest of the bursts of iterations of a run of a few seconds, which what else the machine
    does has disturbed least. The run leaves nothing behind.
    fields: of RunSpec. Raises ConfigError where the run ends before it could be measured.
    """
    from pycaffe_clr import run

    clock = _Clock(seconds)
    still: dict[str, Any] = {"snapshot": 0, "snapshot_after_train": False, "display": 0}
    still |= {"test_interval": _MOST, "test_initialization": False, "lr_policy": "fixed"}
    settings = {"whole_test": False, "curve": False} | dict(fields)
    # Small steps: what is measured shall not diverge.
    sets = dict(settings.get("sets", {})) | still | {"base_lr": 1e-6}
    settings |= {"sets": sets, "max_iter": _MOST, "batch": batch}
    with tempfile.TemporaryDirectory() as folder:
        result = run(solver, out=Path(folder) / "run", callbacks=[clock], **settings)
    if not clock.steps:
        raise ConfigError(f"{solver}: the step could not be timed: {result.state} {result.reason}")
    return min(clock.steps)


def iterations_at_constant_time(iterations: int, seconds: float, other_seconds: float) -> int:
    """Iterations of a step of other_seconds that take as long as these of a step of seconds."""
    return max(1, round(iterations * seconds / other_seconds))


class _Clock:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.steps: list[float] = []
        self._begin: float | None = None
        self._last = 0.0

    def rows(self, rows: Sequence[Row]) -> str | None:
        now = time.monotonic()
        if self._begin is None:
            self._begin = now
        else:
            self.steps.append((now - self._last) / len(rows))
        self._last = now
        enough = now - self._begin >= self.seconds and len(self.steps) >= _BURSTS
        return "stop" if enough else None
