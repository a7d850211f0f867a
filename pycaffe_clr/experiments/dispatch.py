"""The loop that takes jobs to their ends: what failed is told, the rest goes on.

Nothing is remembered but what lies in the folders of the runs: a queue that was stopped or killed
finds there what is left to do.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from pycaffe_clr.errors import ConfigError, PycaffeClrError
from pycaffe_clr.experiments import cores
from pycaffe_clr.experiments.board import Board, LiveBoard
from pycaffe_clr.experiments.cluster import RayPool
from pycaffe_clr.experiments.jobs import Job, Outcome
from pycaffe_clr.experiments.needs import check_room, unmet
from pycaffe_clr.experiments.pool import GPU_RUNS, LocalPool, Pool, shared_device
from pycaffe_clr.experiments.store import StoredRun
from pycaffe_clr.train.lock import is_locked
from pycaffe_clr.train.result import FINAL_STATES, RECORD

_POLL_SECONDS = 0.25
# How often a folder that another process holds is looked at.
_HELD_SECONDS = 2.0
_STOPPED = "the queue was stopped"
_FULL = os.strerror(errno.ENOSPC)


def run_jobs(
    jobs: Sequence[Job],
    *,
    at_once: int | None = None,
    threads: int | None = None,
    cluster: str | None = None,
    follow: bool | None = None,
    board: Board | None = None,
) -> list[Outcome]:
    """Make all runs that are not final yet, each after the one that it starts from.

    Returns an outcome per job, in their order. at_once, threads: runs at a time and threads of each
    (cores.share). cluster: "auto" or the address of a Ray cluster, instead of this machine. follow:
    print the lines of the runs' logs; by default those that come from a cluster. board: what is
    shown, by default a live table on a terminal and else lines.

    A run that fails does not keep others from being made. Ctrl-C, SIGTERM and SIGHUP let each run
    write a checkpoint and stop; a second one ends them at once. Raises ConfigError for what is
    asked wrongly and DataError where nothing can be written or none of the runs has its data.
    """
    names = [job.name for job in jobs]
    if len(set(names)) < len(names):
        raise ConfigError(f"two runs have one name: {max(names, key=names.count)}")
    known = {job.name: found for job in jobs if (found := known_outcome(job)) is not None}
    todo = [job for job in jobs if job.name not in known]
    errors: dict[str, PycaffeClrError] = {}
    pool: Pool | None = None
    if cluster is not None and at_once is not None:
        raise ConfigError("--jobs is for this machine: a cluster takes as many runs as it can")
    asked = threads
    slots, threads = cores.share(len(todo), at_once, threads)
    if todo:
        errors = unmet(todo)
        if len(errors) == len(todo):
            first = next(iter(errors.values()))
            raise type(first)("\n".join(dict.fromkeys(map(str, errors.values()))))
        folder = Path(os.path.commonpath([job.folder.absolute().parent for job in todo]))
        check_room(folder, sum(job.iterations for job in todo), len(todo))
        if cluster is None:
            if at_once is None and any(shared_device(job) for job in todo):
                slots = min(slots, GPU_RUNS)
            pool = LocalPool(slots, threads, bool(follow))
        else:
            gpu = todo[0].spec.device in ("gpu", "cuda")
            pool = RayPool(cluster, folder, asked or 1, gpu, follow is not False)
    queue = _Queue(jobs, known, errors, pool, board or _board(slots))
    try:
        return queue.run()
    finally:
        if pool is not None:
            pool.close()


def _board(slots: int) -> Board:
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        return LiveBoard(slots)
    return Board(slots)


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0 where every run is final, however it ended; 130 where the queue was stopped; else 1."""
    if any(o.state == "stopped" for o in outcomes):
        return 130
    return 0 if all(o.final for o in outcomes) else 1


def known_outcome(job: Job) -> Outcome | None:
    """The outcome of a run that is final already; None for any other, and for one that is to be
    overwritten. Raises DataError."""
    if job.spec.overwrite:
        return None
    run = StoredRun(job.folder.parent.name, job.folder.name, job.folder)
    if not (job.folder / RECORD).exists() or run.record["state"] not in FINAL_STATES:
        return None
    return Outcome(
        job,
        run.state,
        str(run.record.get("reason", "")),
        run.iteration,
        run.max_iter,
        final_accuracy=run.final_accuracy,
        whole_accuracy=run.whole_accuracy,
        known=True,
    )


class _Queue:
    """known: outcomes of jobs that are final. errors: why others cannot be started, by name."""

    def __init__(
        self,
        jobs: Sequence[Job],
        known: Mapping[str, Outcome],
        errors: Mapping[str, PycaffeClrError],
        pool: Pool | None,
        board: Board,
    ) -> None:
        self.jobs = {job.name: job for job in jobs}
        self.errors = errors
        self.pool = pool
        self.board = board
        self.outcomes = dict(known)
        self.waiting = [job for job in jobs if job.name not in known]
        self.running: dict[str, Job] = {}
        self.held: dict[str, float] = {}  # when to look again
        self.closed = ""  # why no more jobs are started

    def run(self) -> list[Outcome]:
        """Take all jobs to their ends; their outcomes, in order."""
        with self.board, _Stops() as stops:
            self.board.begin(list(self.jobs.values()), list(self.outcomes.values()))
            if self.pool is not None:
                self._loop(self.pool, stops)
            outcomes = [self.outcomes[name] for name in self.jobs]
            self.board.finish(outcomes)
        return outcomes

    def _loop(self, pool: Pool, stops: _Stops) -> None:
        obeyed = 0
        while self.waiting or self.running:
            if stops.count > obeyed:
                obeyed += 1
                self.board.note(_stop_words(obeyed, len(self.running)))
                self.closed = _STOPPED
                pool.stop()
            self._start(pool)
            for event in pool.poll(_POLL_SECONDS):
                if event.kind == "ended":
                    self._ended(self.running.pop(event.job), event.values)
                else:
                    self.board.event(event)

    def _start(self, pool: Pool) -> None:
        """Start what can be started now; give up what never can."""
        now = time.monotonic()
        for job in self.waiting[:]:
            reason = self.closed or str(self.errors.get(job.name, "")) or self._never(job)
            if reason:
                self.waiting.remove(job)
                self._record(Outcome(job, "stopped" if reason == _STOPPED else "skipped", reason))
            elif self._may_start(job, now) and pool.has_room(job):
                # Another process may have finished it while it waited here.
                found = known_outcome(job)
                self.waiting.remove(job)
                if found is not None:
                    self._record(found)
                elif is_locked(job.folder):
                    self._hold(job)
                else:
                    self._begin(pool, job)

    def _begin(self, pool: Pool, job: Job) -> None:
        try:
            pool.start(job)
        except OSError as error:
            self._record(Outcome(job, "failed", f"no process can be started: {error.strerror}"))
            return
        self.running[job.name] = job
        self.board.started(job)

    def _never(self, job: Job) -> str:
        """Why a job cannot be started at all; empty where it can, now or later."""
        base = self.outcomes.get(job.after or "")
        if base is None:
            return ""
        if base.state not in ("finished", "ended early"):
            return f"it starts from a snapshot of {job.after}, which {_ended_words(base.state)}"
        snapshot = Path(str(job.spec.snapshot))
        if not snapshot.exists():
            return (
                f"it starts from {snapshot}, which {job.after} did not leave; "
                f"remove {base.job.folder} to make that run again"
            )
        return ""

    def _may_start(self, job: Job, now: float) -> bool:
        ready = job.after not in self.jobs or job.after in self.outcomes
        return ready and self.held.get(job.name, 0.0) <= now

    def _ended(self, job: Job, values: Mapping[str, Any]) -> None:
        if values["state"] == "held":
            self._hold(job)
            return
        outcome = Outcome(job, **values)
        self._record(outcome)
        if _FULL in outcome.reason and not self.closed:
            self.closed = f"the disk of {job.folder} is full"

    def _hold(self, job: Job) -> None:
        """Leave a run to the process that has it, and look again later; others go first."""
        if job.name not in self.held:
            self.board.note(f"{job.name} is in the hands of another process: waiting for that one")
        self.held[job.name] = time.monotonic() + _HELD_SECONDS
        self.waiting.append(job)

    def _record(self, outcome: Outcome) -> None:
        self.outcomes[outcome.job.name] = outcome
        self.board.ended(outcome)


def _ended_words(state: str) -> str:
    words = {"skipped": "was not made", "failed": "has failed", "diverged": "has diverged"}
    return words.get(state, f"was {state}")


def _stop_words(count: int, running: int) -> str:
    if count > 1:
        return "stopping at once"
    runs = "1 run" if running == 1 else f"{running} runs"
    return f"stopping: {runs} after this iteration, each with a checkpoint; once more stops at once"


class _Stops:
    """While entered: counts the signals that ask to stop, instead of being ended by them."""

    def __init__(self) -> None:
        self.count = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Stops:
        # Python lets only the main thread have handlers.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                # nohup has SIGHUP ignored.
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        self.count += 1
