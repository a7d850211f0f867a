"""Runs on a Ray cluster: each a task with its cores, or its GPU, which Ray places and retries.

The folders of the runs must lie on a file system that all nodes share, under one path: there a run
that lost its worker finds its last checkpoint, wherever it is retried. Checkpoints are not sent
about. The nodes need pycaffe_clr installed and the data at the same paths.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pycaffe_clr.catalog import find_solver, shipped_folder
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.experiments.jobs import Event, Job
from pycaffe_clr.experiments.pool import LocalPool
from pycaffe_clr.train.spec import RunSpec

# Losses of a worker that one run may suffer. Each costs it the time since its last checkpoint.
_RETRIES = 20
_TELL_SECONDS = 0.5
_KNOCK_SECONDS = 5.0


class WorkerLost(Exception):
    """The process of a run was killed; Ray retries the task."""


class RayPool:
    """A Pool (see there) whose jobs are tasks of a Ray cluster.

    address: of a cluster, or "auto" for the one that runs on this machine or that RAY_ADDRESS
    names. root: a folder on the shared file system. threads: cores of each run. gpu: it needs a
    GPU, too. Raises ConfigError where ray is not installed or no cluster answers.
    """

    def __init__(
        self, address: str, root: Path, threads: int, gpu: bool = False, follow: bool = True
    ) -> None:
        self._ray = _ray()
        self._threads = threads
        self._follow = follow
        self._began = not self._ray.is_initialized()
        if self._began:
            self._connect(address)
        self._post = self._ray.remote(num_cpus=0)(_Post).remote()
        # Workers that do not see this file do not see the runs.
        self._mark = root.absolute() / f".cluster-{uuid.uuid4().hex}"
        self._mark.touch()
        self._task = self._ray.remote(
            num_cpus=threads,
            num_gpus=1 if gpu else 0,
            max_retries=_RETRIES,
            retry_exceptions=[WorkerLost],
            max_calls=1,
        )(_make)
        self._refs: dict[Any, str] = {}
        self._begun: set[str] = set()
        self._stops = 0

    def _connect(self, address: str) -> None:
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            _knock(address)
            self._ray.init(address=address, log_to_driver=False, logging_level="warning")
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigError(
                f"--cluster {address}: no Ray cluster answers ({error}). "
                "Start one with `ray start --head`, or give the address of its head node"
            ) from error

    def has_room(self, job: Job) -> bool:
        """Always: Ray keeps tasks until there is room for them."""
        return True

    def start(self, job: Job) -> None:
        """Hand a job to Ray."""
        job = replace(job, spec=portable(job.spec))
        order = (job, self._threads, self._follow, str(self._mark), self._post)
        self._refs[self._task.remote(*order)] = job.name

    def poll(self, seconds: float) -> list[Event]:
        """See Pool. A job that begins tells so: "begun" (host, pid of Ray's worker, again)."""
        ray = self._ray
        if not self._refs:
            time.sleep(seconds)
            return []
        done, _ = ray.wait(list(self._refs), timeout=seconds)
        events = []
        for event in ray.get(self._post.collect.remote()):
            if event.kind == "begun":
                again = event.job in self._begun
                self._begun.add(event.job)
                event = Event(event.job, "begun", {**event.values, "again": again})
            events.append(event)
        for ref in done:
            name = self._refs.pop(ref)
            self._begun.discard(name)
            events.append(Event(name, "ended", self._end(ref)))
        return events

    def _end(self, ref: Any) -> dict[str, Any]:
        try:
            values: dict[str, Any] = self._ray.get(ref)
        except self._ray.exceptions.TaskCancelledError:
            return {"state": "stopped", "reason": "before it began"}
        except (self._ray.exceptions.RayError, WorkerLost) as error:
            return {"state": "killed", "reason": f"Ray gave it up: {error}"}
        return values

    def stop(self) -> None:
        """Have what runs checkpoint and stop, and call off what waits; again: at once."""
        self._stops += 1
        self._ray.get(self._post.stop.remote())
        for ref, name in self._refs.items():
            if name not in self._begun:
                self._ray.cancel(ref)

    def close(self) -> None:
        """Leave the cluster, where this pool entered it. Tasks that still run end with that."""
        self._mark.unlink(missing_ok=True)
        for ref in self._refs:
            self._ray.cancel(ref, force=True)
        self._ray.kill(self._post)
        if self._began:
            self._ray.shutdown()


def portable(spec: RunSpec) -> RunSpec:
    """The same run for a process with another working directory, where the package may lie
    elsewhere, too: shipped solvers by name, files by their whole path."""
    solver = find_solver(str(spec.solver))
    shipped = shipped_folder("solvers")
    is_shipped = shipped is not None and solver.resolve().parent == shipped.resolve()
    values: dict[str, str] = {
        "solver": solver.stem if is_shipped else str(solver.absolute()),
        "data_dir": str(Path(spec.data_dir or "").absolute()),
    }
    for name in ("out", "snapshot", "net"):
        value = getattr(spec, name)
        # A net may be a shipped one's name.
        if value is not None and (name != "net" or Path(value).exists()):
            values[name] = str(Path(value).absolute())
    if spec.weights is not None:
        values["weights"] = ",".join(str(Path(w).absolute()) for w in spec.weights.split(","))
    return replace(spec, **values)  # type: ignore[arg-type]


class _Post:
    """An actor between the runs and the queue: it passes events on, and the wish to stop back."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._stops = 0

    def tell(self, events: Sequence[Event]) -> int:
        """Take events; returns how often the queue was asked to stop."""
        self._events += events
        return self._stops

    def collect(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def stop(self) -> None:
        self._stops += 1


def _make(job: Job, threads: int, follow: bool, mark: str, post: Any) -> dict[str, Any]:
    """The task: one run in a process of its own, beside Ray's; how it ended, as for Outcome."""
    ray = _ray()
    if not Path(mark).exists():
        return {
            "state": "failed",
            "reason": f"node {socket.gethostname()} does not see {Path(mark).parent}: the folder "
            "of the runs must lie on a file system that all nodes share",
        }
    pool = LocalPool(1, threads, follow)
    obeyed = 0
    events = [Event(job.name, "begun", {"host": socket.gethostname(), "pid": os.getpid()})]
    try:
        if not ray.get(post.tell.remote(events)):
            pool.start(job)
        else:
            return {"state": "stopped", "reason": "before it began"}
        while True:
            told = time.monotonic()
            events = pool.poll(_TELL_SECONDS)
            ended = next((event for event in events if event.kind == "ended"), None)
            others = [event for event in events if event.kind != "ended"]
            stops = ray.get(post.tell.remote(others))
            if ended is not None:
                if ended.values["state"] == "killed":
                    raise WorkerLost(ended.values["reason"])
                return dict(ended.values)
            while obeyed < stops:
                obeyed += 1
                pool.stop()
            time.sleep(max(0.0, _TELL_SECONDS - (time.monotonic() - told)))
    finally:
        pool.close()


def _knock(address: str) -> None:
    """Raise OSError where nobody listens at HOST:PORT; Ray would go on trying for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), _KNOCK_SECONDS).close()


def _ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise ConfigError('a cluster needs Ray: pip install "pycaffe_clr[cluster]"') from error
    return ray
