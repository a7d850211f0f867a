"""What became of a setting: its runs on disk as mean and deviation, beside the report's numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pycaffe_clr.errors import DataError
from pycaffe_clr.experiments.logs import read_log
from pycaffe_clr.experiments.manifest import Row, Setting
from pycaffe_clr.experiments.statistics import (
    Comparison,
    Summary,
    counted_accuracy,
    summarize,
    welch,
)
from pycaffe_clr.experiments.store import Store, StoredRun
from pycaffe_clr.train.result import LOG

# A run with fewer iterations than this part of its setting's was shortened by hand: a trial.
_WHOLE = 0.98


@dataclass(frozen=True)
class Outcome:
    """The runs of one setting. Accuracies are in percent, of the last logged test.

    accuracy: of the runs that count: through, of full length; a diverged one counts at chance.
    whole: the same runs on the whole test set, where measured. diverged: name and iteration of
    those among them that diverged. unfinished: runs that are not through. shortened: runs that are,
    but with fewer iterations than the setting has. unreadable: runs whose files are damaged.
    seconds: of training, the mean of the runs that did not diverge. speed: images a second.
    """

    setting: Setting
    accuracy: Summary
    whole: Summary
    diverged: tuple[tuple[str, int], ...]
    unfinished: tuple[StoredRun, ...]
    shortened: tuple[StoredRun, ...]
    unreadable: tuple[StoredRun, ...]
    seconds: float
    speed: float

    @property
    def n(self) -> int:
        """Runs that count."""
        return self.accuracy.n

    @property
    def planned(self) -> int:
        """Runs that the protocol asks for: 4, or 2 on ImageNet."""
        return len(self.setting.counted)

    @property
    def missing(self) -> bool:
        """Whether no run counts."""
        return self.n == 0


class _Sorted(NamedTuple):
    """The runs of a setting by whether they count, as Outcome has it."""

    counted: list[StoredRun]
    unfinished: list[StoredRun]
    shortened: list[StoredRun]
    unreadable: list[StoredRun]


def _sorted_runs(setting: Setting, store: Store) -> _Sorted:
    found = _Sorted([], [], [], [])
    for run in store.counted(setting.name):
        if not run.final:
            (found.unreadable if run.state == "unreadable" else found.unfinished).append(run)
        elif run.scaled or not is_whole(run, setting):
            found.shortened.append(run)
        elif math.isfinite(_number(run, setting.classes)):
            found.counted.append(run)
        else:
            found.unreadable.append(run)
    return found


def runs_that_count(setting: Setting, store: Store) -> list[StoredRun]:
    """The runs of a setting on which tables and claims rest: through, of full length, readable.

    Raises DataError where a folder cannot be listed.
    """
    return _sorted_runs(setting, store).counted


def outcome_of(setting: Setting, store: Store) -> Outcome:
    """Read what there is of a setting. Raises DataError where a folder cannot be listed."""
    counted, unfinished, shortened, unreadable = _sorted_runs(setting, store)
    classes = setting.classes
    diverged = [(run.plan, run.iteration) for run in counted if run.diverged]
    accuracies = [100 * counted_accuracy(run, classes) for run in counted]
    wholes = [100 * counted_accuracy(run, classes, whole=True) for run in counted]
    timed = [time_of(run) for run in counted if not run.diverged]
    return Outcome(
        setting=setting,
        accuracy=summarize(accuracies, len(diverged)),
        whole=summarize([w for w in wholes if math.isfinite(w)], len(diverged)),
        diverged=tuple(diverged),
        unfinished=tuple(unfinished),
        shortened=tuple(shortened),
        unreadable=tuple(unreadable),
        seconds=_mean(seconds for seconds, _ in timed),
        speed=_mean(speed for _, speed in timed),
    )


def is_whole(run: StoredRun, setting: Setting) -> bool:
    """Whether a run that is through had the setting's iterations, or diverged on the way."""
    if run.diverged:
        return run.max_iter >= _WHOLE * setting.max_iter
    return run.iteration >= _WHOLE * setting.max_iter


def time_of(run: StoredRun) -> tuple[float, float]:
    """Seconds of training and images a second, by the run's record or else its log; nan where
    neither tells. By a log, the speed is that of training and tests together."""
    record = run.record
    seconds, speed, batch = (record.get(n) for n in ("seconds", "images_per_second", "batch"))
    if not (seconds and (speed or batch)):
        try:
            log = read_log(log_in(run.folder))
        except DataError:
            return math.nan, math.nan
        seconds, batch = seconds or log.seconds, batch or log.batch
    images = (run.iteration - record.get("first_iteration", 0)) * batch
    if not speed:
        speed = images / seconds if images and seconds > 0 else math.nan
    return float(seconds), float(speed)


def log_in(folder: Path) -> Path:
    """The log of a run's folder, packed or not."""
    packed = folder / f"{LOG}.gz"
    return packed if packed.is_file() else folder / LOG


def _number(run: StoredRun, classes: int) -> float:
    """The accuracy by which a run counts; nan where its files do not tell."""
    try:
        return counted_accuracy(run, classes)
    except (DataError, KeyError, TypeError, ValueError):
        return math.nan


def _mean(values: Iterable[float]) -> float:
    return summarize([value for value in values if math.isfinite(value)]).mean


def against_report(outcome: Outcome, row: Row) -> Comparison:
    """Welch's test of our runs against the report's mean and deviation of as many as it made."""
    return welch(outcome.accuracy, Summary(row.report_mean, row.report_sd, outcome.planned))
