"""What a queue of runs shows: a line per run on a pipe, a live table on a terminal."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

from pycaffe_clr.durations import duration
from pycaffe_clr.experiments.jobs import Event, Job, Outcome
from pycaffe_clr.train.progress import Speed
from pycaffe_clr.train.result import LOG

_REDRAW_SECONDS = 0.2
_LAST_LINES = 5


class Board:
    """Prints a line where a run starts and ends. slots: runs at a time, by which the whole is
    estimated. stream: where to, sys.stdout by default."""

    def __init__(self, slots: int = 1, stream: TextIO | None = None) -> None:
        self._slots = slots
        self._stream = stream or sys.stdout
        self._total = self._done = 0
        self._begun = time.monotonic()

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def note(self, text: str) -> None:
        """A line about the queue itself."""
        print(text, file=self._stream, flush=True)

    def begin(self, jobs: Sequence[Job], known: Sequence[Outcome]) -> None:
        """The queue was looked through; `known` are final already."""
        self._total, self._done = len(jobs), len(known)
        done = f", {len(known)} of them done already" if known else ""
        names = {outcome.job.name for outcome in known}
        missing = [job.seconds for job in jobs if job.name not in names]
        seconds = sum(missing) / max(1, min(self._slots, len(missing)))
        left = f", about {duration(seconds)} in all" if missing and seconds >= 1 else ""
        self.note(f"{_runs(len(jobs))}{done}{left}")

    def started(self, job: Job) -> None:
        """A run begins, or goes on."""
        self.note(f"{self._count()} {job.name} started")

    def event(self, event: Event) -> None:
        """A run tells something."""
        if event.kind == "log":
            self.note(f"{event.job}: {event.values['text']}")
        elif event.kind == "begun":
            again = " again: its worker was lost" if event.values["again"] else ""
            self.note(f"{self._count()} {event.job} began on {event.values['host']}{again}")

    def ended(self, outcome: Outcome) -> None:
        """A run ended, in whatever way."""
        self._done += 1
        self.note(f"{self._count()} {describe(outcome)}")

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        """The queue is through."""
        counts: dict[str, int] = {}
        for outcome in outcomes:
            counts[outcome.state] = counts.get(outcome.state, 0) + 1
        words = ", ".join(f"{count} {state}" for state, count in counts.items())
        self.note(f"{words or 'nothing to do'}, in {duration(time.monotonic() - self._begun)}")

    def _count(self) -> str:
        width = len(str(self._total))
        return f"[{self._done:>{width}}/{self._total}]"


class LiveBoard(Board):
    """The same on a terminal, with a table of what runs below it."""

    def __init__(self, slots: int, console: Any | None = None) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__init__(slots)
        self._console = console or Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._shown = 0.0
        self._jobs: dict[str, Job] = {}
        self._rows: dict[str, _Row] = {}

    def __enter__(self) -> LiveBoard:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def begin(self, jobs: Sequence[Job], known: Sequence[Outcome]) -> None:
        super().begin(jobs, known)
        self._jobs = {job.name: job for job in jobs}
        for outcome in known:
            del self._jobs[outcome.job.name]

    def started(self, job: Job) -> None:
        self._rows[job.name] = _Row()
        self._draw()

    def event(self, event: Event) -> None:
        if event.kind == "running":
            self._rows[event.job].take(event)
            if time.monotonic() - self._shown > _REDRAW_SECONDS:
                self._draw()
        else:
            super().event(event)

    def ended(self, outcome: Outcome) -> None:
        super().ended(outcome)
        self._rows.pop(outcome.job.name, None)
        self._jobs.pop(outcome.job.name, None)
        self._draw()

    def seconds_left(self) -> float:
        """Of the whole queue: speeds for what runs, estimates for the rest, over the slots."""
        left = []
        for name, job in self._jobs.items():
            seconds = self._rows[name].seconds_left() if name in self._rows else math.nan
            left.append(job.seconds if math.isnan(seconds) else seconds)
        return sum(left) / max(1, min(self._slots, len(left)))

    def _draw(self) -> None:
        from rich.console import Group
        from rich.table import Table

        self._shown = time.monotonic()
        table = Table.grid(padding=(0, 2))
        for column in range(4):
            table.add_column(justify="right" if column else "left", no_wrap=True)
        for name, row in self._rows.items():
            table.add_row(name, *row.cells())
        left = duration(self.seconds_left())
        last = f"{self._done} of {self._total} done, {left} left for all"
        self._live.update(Group(table, last), refresh=True)


class _Row:
    """What the table shows of a run."""

    def __init__(self) -> None:
        self.speed = Speed()
        self.iteration = self.max_iter = 0
        self.accuracy = math.nan

    def take(self, event: Event) -> None:
        values = event.values
        self.iteration = values.get("iteration", self.iteration)
        self.max_iter = values.get("max_iter", self.max_iter)
        self.accuracy = values.get("accuracy", self.accuracy)
        self.speed.note(self.iteration)

    def seconds_left(self) -> float:
        rate = self.speed.per_second()
        return (self.max_iter - self.iteration) / rate if rate > 0 else math.nan

    def cells(self) -> list[str]:
        percent = 100 * self.iteration / self.max_iter if self.max_iter else 0.0
        return [
            f"{self.iteration}/{self.max_iter or '?'} {percent:3.0f}%",
            "" if math.isnan(self.accuracy) else f"acc {100 * self.accuracy:.2f}%",
            f"{duration(self.seconds_left())} left",
        ]


def describe(outcome: Outcome) -> str:
    """How a run ended, in a line; where it failed, the last lines of its log below."""
    name, state = outcome.job.name, outcome.state
    if outcome.final:
        at = "" if state == "finished" else f" at iteration {outcome.iteration}"
        took = "" if outcome.known else f" in {duration(outcome.seconds)}"
        return f"{name} {state}{at}{took}{_accuracies(outcome)}"
    if state == "stopped":
        if not outcome.seconds:
            return f"{name} not started"
        at = f" at iteration {outcome.iteration}" if outcome.iteration else ""
        return f"{name} stopped{at}"
    lines = [f"{name} {state}: {outcome.reason}"]
    if state != "skipped":
        lines += [f"    {line}" for line in _log_end(outcome)]
    return "\n".join(lines)


def _accuracies(outcome: Outcome) -> str:
    if math.isnan(outcome.final_accuracy):
        return ""
    text = f": accuracy {100 * outcome.final_accuracy:.2f} %"
    if not math.isnan(outcome.whole_accuracy):
        text += f", whole test set {100 * outcome.whole_accuracy:.2f} %"
    return text


def _log_end(outcome: Outcome) -> list[str]:
    try:
        with (outcome.job.folder / LOG).open("rb") as log:
            log.seek(0, 2)
            log.seek(max(0, log.tell() - 4096))
            return log.read().decode(errors="replace").splitlines()[-_LAST_LINES:]
    except OSError:
        return []


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"
