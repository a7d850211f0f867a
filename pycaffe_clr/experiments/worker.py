"""One run in a process of its own, or several: `python -m pycaffe_clr.experiments.worker`.

The first line of stdin is the order: {"spec": a RunSpec as JSON, "follow": tell the log's lines,
"watch": MODULE:NAME of what makes a callback of the run's folder, or null}. What happens is told on
stdout, a JSON object in each line, as `Event` has it. Where stdin ends, the process that gave the
order is gone: the run writes its checkpoint and stops.

Where the order has a "job", a name, which then stands in what is told, more orders may follow: each
run is a thread. SIGTERM, or the end of stdin, stops all.
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
    from pycaffe_clr.train.session import Session

_TELL_SECONDS = 0.25
_writing = threading.RLock()  # a handler of a signal may write, too


def main() -> int:
    """Make one run, or several; the exit code is 0 whatever became of them: stdout has told it."""
    channel = Channel(_private_stdout())
    order = json.loads(_read_line(0))
    if "job" in order:
        Several(channel).serve(order)
        return 0
    threading.Thread(target=_watch_parent, name="parent", daemon=True).start()
    spec = RunSpec.from_json(order["spec"])
    channel.tell("ended", make(spec, channel, bool(order["follow"]), order.get("watch")))
    return 0


class Channel:
    """Where events are written. Nobody may be there to read them any more. job: whose they are,
    where several runs tell theirs."""

    def __init__(self, descriptor: int, job: str | None = None) -> None:
        self._descriptor = descriptor
        self._more = {} if job is None else {"job": job}

    def of(self, job: str) -> Channel:
        """The same for one of several runs."""
        return Channel(self._descriptor, job)

    def tell(self, kind: str, values: Mapping[str, Any], needed: bool = True) -> None:
        """Write one event; one that is not needed is dropped while the reader is behind."""
        line = json.dumps({"kind": kind, **self._more, **values}).encode() + b"\n"
        with _writing, contextlib.suppress(OSError):
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


class _Ended(Exception):
    """SIGTERM came."""


class Several:
    """Runs as threads of this process, each with a stream of its own on the device."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._sessions: dict[int, Session] = {}  # by thread
        self._stopping = False

    def serve(self, order: dict[str, Any]) -> None:
        """Make what is ordered until stdin ends or SIGTERM comes; then stop what still runs."""
        threads = []

        def end(*_: object) -> None:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            raise _Ended

        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, end)
        with contextlib.suppress(_Ended):
            while True:
                threads.append(threading.Thread(target=self._make, args=(order,)))
                threads[-1].start()
                line = _read_line(0)
                if not line:
                    break
                order = json.loads(line)
        self._stop()
        for thread in threads:
            thread.join()

    def _make(self, order: dict[str, Any]) -> None:
        channel = self._channel.of(order["job"])
        spec = RunSpec.from_json(order["spec"])
        follow, watch = bool(order["follow"]), order.get("watch")
        # What the process holds is not one run's alone.
        ended = make(spec, channel, follow, watch, [self]) | {"memory": 0}
        with self._lock:
            self._sessions.pop(threading.get_ident(), None)
        channel.tell("ended", ended)

    def started(self, run: Run) -> None:
        """One of the runs begins or goes on."""
        with self._lock:
            self._sessions[threading.get_ident()] = run.session
            if self._stopping:
                run.session.stop()

    def _stop(self) -> None:
        with self._lock:
            self._stopping = True
            for session in self._sessions.values():
                session.stop()


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


def make(
    spec: RunSpec,
    channel: Channel,
    follow: bool,
    watch: str | None = None,
    callbacks: Sequence[Any] = (),
) -> dict[str, Any]:
    """Make the run, or go on with it; how it ended, as fields of Outcome."""
    from pycaffe_clr.train.run import train

    console = _LogLines(channel) if follow else None
    begun = time.monotonic()
    told = [Reporter(channel), *callbacks]
    if watch:
        module, _, name = watch.partition(":")
        told.append(getattr(import_module(module), name)(Path(str(spec.out))))
    try:
        result = train(spec, callbacks=told, console=console, owns_process=True)
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
