"""Runs in processes of this machine, several at a time.

Runs on one GPU are threads of one process. A GPU gives the kernels of one process at a time all of
it, and those of another nothing meanwhile: small nets, which need a part of it only, would wait for
each other. The streams of one process share it, and so do its start and its memory for the driver
(some hundreds of MB each time). What that costs: a run that ends its process, or leaves the GPU in
error, ends the others with it; they go on from their checkpoints. On the CPU each run has a process
of its own.
"""

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

from pycaffe_clr.errors import PycaffeClrError
from pycaffe_clr.experiments.cores import environment, free_memory
from pycaffe_clr.experiments.jobs import Event, Job
from pycaffe_clr.train.read_spec import read_spec
from pycaffe_clr.train.spec import RunSpec

COMMAND = (sys.executable, "-m", "pycaffe_clr.experiments.worker")
_GPUS = ("cuda", "cuda_host")
# So many runs share a GPU unless somebody says how many: more would hardly find a part of it idle,
# and each takes memory.
GPU_RUNS = 4
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
    """A process with its runs. device: that its runs share as threads; "": it has one run."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    device: str
    jobs: dict[str, Job] = field(default_factory=dict)
    started: dict[str, float] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    ended: dict[str, Any] | None = None
    rest: bytes = b""


def shared_device(job: Job) -> str:
    """The GPU on which a run is to be beside others; "" for one that has a process of its own."""
    device = _chosen_gpu(job.spec) if job.spec.device is None else job.spec.device
    alone = job.spec.ranks not in (None, 1) or "," in device
    return "" if alone or device.partition(":")[0] not in _GPUS else device


def _chosen_gpu(spec: RunSpec) -> str:
    """The GPU that the solver's solver_mode means here; "": none."""
    from pycaffe_clr import devices

    if not devices.gpus()[0]:
        return ""
    try:
        return devices.of_solver(read_spec(spec).solver).device
    except PycaffeClrError:  # which the run then says
        return ""


class LocalPool:
    """Up to `jobs` runs with `threads` threads each, as far as memory allows."""

    def __init__(self, jobs: int, threads: int, follow: bool = False) -> None:
        self.jobs = jobs
        self.threads = threads
        self.follow = follow
        self._children: dict[int, _Child] = {}
        self._selector = selectors.DefaultSelector()
        self._stops = 0
        self._kill_at = math.inf

    def has_room(self, job: Job) -> bool:
        """Whether a run more is allowed, and has the memory. One always has."""
        running = sum(len(child.jobs) for child in self._children.values())
        if not running:
            return True
        if running >= self.jobs:
            return False
        # Those that have not trained yet do not hold yet what they will need.
        promised = sum(
            _need(waiting)
            for child in self._children.values()
            for name, waiting in child.jobs.items()
            if name not in child.told
        )
        return free_memory() - promised >= _need(job)

    def start(self, job: Job) -> None:
        """Begin with a job. Raises OSError where the system gives no more processes."""
        device = shared_device(job)
        beside = [c for c in self._children.values() if device and c.device == device]
        child = beside[0] if beside else self._process(device)
        child.jobs[job.name] = job
        child.started[job.name] = time.monotonic()
        order = {"spec": job.spec.to_json(), "follow": self.follow, "watch": job.watch}
        if device:
            order["job"] = job.name
        assert child.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # gone already: its end tells
            child.process.stdin.write(json.dumps(order).encode() + b"\n")
            child.process.stdin.flush()

    def _process(self, device: str) -> _Child:
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
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        os.set_blocking(descriptor, False)
        child = self._children[descriptor] = _Child(process, errors, device)
        self._selector.register(descriptor, selectors.EVENT_READ)
        return child

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
                name = values.pop("job", None) or next(iter(child.jobs))
                child.told.add(name)
                if kind != "ended":
                    events.append(Event(name, kind, values))
                elif child.device:
                    events.append(self._ended(child, name, values))
                else:
                    child.ended = values  # and its process is about to be
            if not block:
                events += self._end(key.fd)
        return events

    def _ended(self, child: _Child, name: str, values: dict[str, Any]) -> Event:
        del child.jobs[name]
        values.setdefault("seconds", time.monotonic() - child.started[name])
        return Event(name, "ended", values)

    def _end(self, descriptor: int) -> list[Event]:
        """Take leave of a process that has closed its stdout; the ends of its runs."""
        child = self._children.pop(descriptor)
        self._selector.unregister(descriptor)
        code = child.process.wait()
        ends = [
            self._ended(child, name, child.ended or self._killed(child, code))
            for name in list(child.jobs)
        ]
        assert child.process.stdin is not None and child.process.stdout is not None
        with contextlib.suppress(OSError):
            child.process.stdin.close()
        child.process.stdout.close()
        child.errors.close()
        return ends

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
