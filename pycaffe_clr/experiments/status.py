"""How far the runs of settings are: what is done, what runs and until when, what went wrong."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pycaffe_clr.durations import duration
from pycaffe_clr.experiments.manifest import Setting
from pycaffe_clr.experiments.store import Store, StoredRun

# Written by every run, a row in every few seconds: iteration, seconds of training until then.
_TIMINGS = "timings.csv"
_NAME_WIDTH = 36


@dataclass(frozen=True)
class Running:
    """A run that goes on now. seconds_left: nan where its speed is not known yet."""

    plan: str
    iteration: int
    max_iter: int
    seconds_left: float


@dataclass(frozen=True)
class Progress:
    """How far the runs of one setting are.

    planned: runs. finished: that are through in the ordinary way. running. others: plans by state:
    "stopped", "killed" (can both go on), "failed", "diverged", "ended early", "unreadable".
    """

    setting: str
    planned: int
    finished: int
    running: tuple[Running, ...]
    others: dict[str, tuple[str, ...]]

    @property
    def begun(self) -> bool:
        """Whether there is any run of the setting."""
        return bool(self.finished or self.running or self.others)


def progress(settings: Iterable[Setting], root: str | Path) -> list[Progress]:
    """The progress of each setting beneath a root. Reads no tables but the ends of growing ones."""
    store = Store([root])
    return [_progress(setting, store) for setting in settings]


def _progress(setting: Setting, store: Store) -> Progress:
    finished = 0
    running: list[Running] = []
    others: dict[str, tuple[str, ...]] = {}
    plans = {plan.name for plan in setting.runs}
    for run in store.runs(setting.name):
        state = run.state
        if state in ("running", "starting"):
            running.append(_running(run))
        elif state == "finished":
            finished += run.plan in plans
        else:
            others[state] = (*others.get(state, ()), run.plan)
    return Progress(setting.name, len(setting.runs), finished, tuple(running), others)


def _running(run: StoredRun) -> Running:
    iteration, left = run.iteration, math.nan
    rows = _last_row(run.folder / _TIMINGS)
    if len(rows) > 1 and rows[1] > 0 and rows[0] > 0:
        first = float(run.record.get("first_iteration", 0))
        if rows[0] > first:
            left = (run.max_iter - iteration) * rows[1] / (rows[0] - first)
    return Running(run.plan, iteration, run.max_iter, left)


def _last_row(table: Path) -> Sequence[float]:
    """The numbers of the last whole line of a growing table; empty where there are none."""
    try:
        with table.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - 512))
            lines = stream.read().split(b"\n")[:-1]
        return [float(cell) for cell in lines[-1].split(b",")]
    except (OSError, ValueError, IndexError):
        return ()


def lines(found: Sequence[Progress], every: bool = False) -> list[str]:
    """The progress in words, 80 columns; settings without any run only where `every` is asked."""
    shown = [each for each in found if every or each.begun]
    width = min(_NAME_WIDTH, max((len(each.setting) for each in shown), default=0))
    texts = []
    for each in shown:
        head = f"{each.setting:<{width}}  {each.finished:>2}/{each.planned}"
        words = [_words(run) for run in each.running]
        words += [f"{', '.join(plans)} {state}" for state, plans in each.others.items()]
        for word in words or [""]:
            texts.append(f"{head}  {word}".rstrip()[:80])
            head = " " * len(head)
    total = sum(each.planned for each in found)
    done = sum(each.finished for each in found)
    summary = [f"{done} of {total} runs finished"]
    going = sum(len(each.running) for each in found)
    if going:
        summary.append(f"{going} running")
    for state in dict.fromkeys(state for each in found for state in each.others):
        count = sum(len(each.others.get(state, ())) for each in found)
        summary.append(f"{count} {state}")
    return [*texts, ", ".join(summary)]


def _words(run: Running) -> str:
    left = "" if math.isnan(run.seconds_left) else f", {duration(run.seconds_left)} left"
    return f"{run.plan} at {run.iteration}/{run.max_iter}{left}"
