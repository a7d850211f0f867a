"""Runs in processes of this machine, several at a time."""

from __future__ import annotations

import contextlib
import json
import math
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import IO, Any, Protocol

from pycaffe_clr.experiments.cores import environment, free_memory
from pycaffe_clr.experiments.jobs import Event, Job

COMMAND = (sys.executable, "-m", "pycaffe_clr.experiments.worker")
# What a run is taken to need before anything of its kind was measured.
_MEMORY = 1 << 30
_LAST_WORDS = 2000
# How long a run may take to end where it was asked to end at once.
_GRACE_SECONDS = 2.0
# The same where the queue itself has broken off.
_FAREWELL_SECONDS = 10.0


class Pool(Protocol):
    """Where jobs are made: here, or on a cluster. The queue starts, polls and stops them."""

    def has_room(self, job: Job) -> bool:
        """Whether the job can be started now."""

    def start(self, job: Job) -> None:
        """Begin with a job."""

    def poll(self, seconds: float) -> list[Event]:
        """What has been told since the last call; waits up to so many seconds for something.

        Every job ends with one "ended" event, whatever becomes of its process.
        """

    def stop(self) -> None:
        """Ask all jobs to write their checkpoints and stop; a second time: at once."""

    def close(self) -> None:
        """Leave no process behind."""


@dataclass
class _Child:
    job: Job
    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    started: float = field(default_factory=time.monotonic)
    rest: bytes = b""
    told: bool = False
    ended: dict[str, Any] | None = None


class LocalPool:
    """Up to `jobs` processes with `threads` threads each, as far as memory allows."""

    def __init__(self, jobs: int, threads: int, follow: bool = False) -> None:
        self.jobs = jobs
        self.threads = threads
        self.follow = follow
        self._children: dict[int, _Child] = {}
        self._selector = selectors.DefaultSelector()
        self._stops = 0
        self._kill_at = math.inf

    def has_room(self, job: Job) -> bool:
        """Whether a process more is allowed, and has the memory. One always has."""
        if not self._children:
            return True
        if len(self._children) >= self.jobs:
            return False
        # Those that have not trained yet do not hold yet what they will need.
        promised = sum(_need(c.job) for c in self._children.values() if not c.told)
        return free_memory() - promised >= _need(job)

    def start(self, job: Job) -> None:
        """Begin with a job. Raises OSError where the system gives no more processes."""
        errors = tempfile.TemporaryFile()
        process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment(self.threads),
            # Ctrl-C on a terminal reaches the queue alone, which passes it on in its own way.
            process_group=0,
        )
        assert process.stdin is not None and process.stdout is not None
        order = {"spec": job.spec.to_json(), "follow": self.follow, "watch": job.watch}
        with contextlib.suppress(BrokenPipeError):  # gone already: its end tells
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.flush()
        descriptor = process.stdout.fileno()
        os.set_blocking(descriptor, False)
        self._children[descriptor] = _Child(job, process, errors)
        self._selector.register(descriptor, selectors.EVENT_READ)

    def poll(self, seconds: float) -> list[Event]:
        """See Pool."""
        if not self._children:
            time.sleep(seconds)
            return []
        if time.monotonic() > self._kill_at:
            self._signal(signal.SIGKILL)
        events: list[Event] = []
        for key, _ in self._selector.select(seconds):
            child = self._children[key.fd]
            block = os.read(key.fd, 1 << 16)
            *lines, child.rest = (child.rest + block).split(b"\n")
            for line in lines:
                values = json.loads(line)
                kind = values.pop("kind")
                child.told = True
                if kind == "ended":
                    child.ended = values
                else:
                    events.append(Event(child.job.name, kind, values))
            if not block:
                events.append(self._end(key.fd))
        return events

    def _end(self, descriptor: int) -> Event:
        """Take leave of a process that has closed its stdout."""
        child = self._children.pop(descriptor)
        self._selector.unregister(descriptor)
        code = child.process.wait()
        values = child.ended or self._killed(child, code)
        values.setdefault("seconds", time.monotonic() - child.started)
        assert child.process.stdin is not None and child.process.stdout is not None
        with contextlib.suppress(OSError):
            child.process.stdin.close()
        child.process.stdout.close()
        child.errors.close()
        return Event(child.job.name, "ended", values)

    def _killed(self, child: _Child, code: int) -> dict[str, Any]:
        """The end of a process that could not tell it."""
        if self._stops:
            return {"state": "stopped", "reason": "at once"}
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        words = _last_words(child.errors)
        note = " (out of memory?)" if code == -signal.SIGKILL else ""
        return {"state": "killed", "reason": f"its process ended {how}{note}{words}"}

    def stop(self) -> None:
        """SIGTERM, on which a run checkpoints and stops; the second time they are killed soon."""
        self._stops += 1
        if self._stops > 1:
            self._kill_at = time.monotonic() + _GRACE_SECONDS
        self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        for child in self._children.values():
            with contextlib.suppress(ProcessLookupError):
                child.process.send_signal(number)

    def close(self) -> None:
        """End what still runs: nobody waits for it any more. It may write its checkpoint."""
        self._signal(signal.SIGTERM)
        end = time.monotonic() + _FAREWELL_SECONDS
        for child in self._children.values():
            try:
                # Its stdin stays open: that it ends would be a second reason to stop, at once.
                child.process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
            child.errors.close()
        self._children.clear()
        self._selector.close()


def _need(job: Job) -> int:
    return job.memory or _MEMORY


def _last_words(errors: IO[bytes]) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _LAST_WORDS))
    text = errors.read().decode(errors="replace").strip()
    return f": {text}" if text else ""
