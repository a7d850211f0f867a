"""One run in a process of its own: `python -m pycaffe_clr.experiments.worker`.

The first line of stdin is the order: {"spec": a RunSpec as JSON, "follow": tell the log's lines,
"watch": MODULE:NAME of what makes a callback of the run's folder, or null}. What happens is told on
stdout, a JSON object in each line, as `Event` has it. Where stdin ends, the process that gave the
order is gone: the run writes its checkpoint and stops.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycaffe_clr.errors import DataError, PycaffeClrError
from pycaffe_clr.train.events import Row, TestResult
from pycaffe_clr.train.lock import is_locked
from pycaffe_clr.train.result import RunResult, is_accuracy
from pycaffe_clr.train.spec import RunSpec

if TYPE_CHECKING:
    from pycaffe_clr.train.events import Run

_TELL_SECONDS = 0.25


def main() -> int:
    """Make one run; the exit code is 0 whatever became of it, since stdout has told it."""
    channel = Channel(_private_stdout())
    order = json.loads(_read_line(0))
    threading.Thread(target=_watch_parent, name="parent", daemon=True).start()
    spec = RunSpec.from_json(order["spec"])
    channel.tell("ended", make(spec, channel, bool(order["follow"]), order.get("watch")))
    return 0


class Channel:
    """Where events are written. Nobody may be there to read them any more."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def tell(self, kind: str, values: Mapping[str, Any], needed: bool = True) -> None:
        """Write one event; one that is not needed is dropped while the reader is behind."""
        line = json.dumps({"kind": kind, **values}).encode() + b"\n"
        with contextlib.suppress(OSError):
            if needed or select.select([], [self._descriptor], [], 0)[1]:
                while line:
                    line = line[os.write(self._descriptor, line) :]


class Reporter:
    """Listens to a run and tells how far it is, a few times a second."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._max_iter = 0
        self._told = 0.0
        self._accuracy: float | None = None

    def started(self, run: Run) -> None:
        """The run begins or goes on."""
        self._max_iter = run.session.param.max_iter
        self._tell(run.iteration, None)

    def rows(self, rows: Sequence[Row]) -> None:
        """Iterations were finished."""
        if rows and time.monotonic() - self._told > _TELL_SECONDS:
            self._tell(rows[-1].iteration + 1, rows[-1].smoothed)

    def tested(self, result: TestResult) -> None:
        """A test net was tested."""
        if result.index == 0:
            self._accuracy = next((v for n, v in result.outputs if is_accuracy(n)), None)

    def _tell(self, iteration: int, loss: float | None) -> None:
        self._told = time.monotonic()
        values = {
            "iteration": iteration,
            "max_iter": self._max_iter,
            "loss": loss,
            "accuracy": self._accuracy,
        }
        known = {name: value for name, value in values.items() if value is not None}
        self._channel.tell("running", known, needed=False)


class _LogLines(io.StringIO):
    """A stream whose lines are told one by one."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._channel.tell("log", {"text": line})
        return len(text)


def make(spec: RunSpec, channel: Channel, follow: bool, watch: str | None = None) -> dict[str, Any]:
    """Make the run, or go on with it; how it ended, as fields of Outcome."""
    from pycaffe_clr.train.run import train

    console = _LogLines(channel) if follow else None
    begun = time.monotonic()
    callbacks: list[Any] = [Reporter(channel)]
    if watch:
        module, _, name = watch.partition(":")
        callbacks.append(getattr(import_module(module), name)(Path(str(spec.out))))
    try:
        result = train(spec, callbacks=callbacks, console=console, owns_process=True)
    except PycaffeClrError as error:
        # Two processes began at the same time, and this one came second.
        if not isinstance(error, DataError) and is_locked(Path(str(spec.out))):
            return {"state": "held"}
        return {"state": "failed", "reason": str(error)}
    except KeyboardInterrupt:
        return {"state": "stopped", "reason": "at once"}
    except Exception as error:
        reason = f"{type(error).__name__}: {error} (unexpected: a bug of pycaffe_clr)"
        return {"state": "failed", "reason": f"{reason}\n{traceback.format_exc()}"}
    return {**_summary(result), "seconds": time.monotonic() - begun}


def _summary(result: RunResult) -> dict[str, Any]:
    from pycaffe_clr.train.facts import peak_memory

    return {
        "state": result.state,
        "reason": result.reason,
        "iteration": result.iteration,
        "max_iter": result.max_iter,
        "final_accuracy": result.final_accuracy,
        "whole_accuracy": result.whole_accuracy,
        "memory": peak_memory(),
    }


def _private_stdout() -> int:
    """A descriptor for events; whatever else is printed goes to stderr."""
    private = os.dup(1)
    os.dup2(2, 1)
    return private


def _read_line(descriptor: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        # One by one: what follows the line is not ours to read.
        byte = os.read(descriptor, 1)
        if not byte:
            break
        line += byte
    return line


def _watch_parent() -> None:
    """Stop the run, as SIGTERM does, where the other end of stdin is gone."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
