"""Tables 1 and 2 of the report with our runs beside its numbers, as lines ready to be printed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from pycaffe_clr.durations import duration
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.experiments.manifest import Manifest, Row, Setting
from pycaffe_clr.experiments.outcome import Outcome, against_report, outcome_of
from pycaffe_clr.experiments.statistics import Comparison
from pycaffe_clr.experiments.store import Store

TITLES = {
    1: "Table 1: cyclical momentum on Cifar-10; final accuracy in %",
    2: "Table 2: other data sets and architectures; final accuracy in %",
}


@dataclass(frozen=True)
class Line:
    """A row of the report's table, or another reading of it, with what our runs gave.

    label: the row's number; of another reading, the number with a letter. reading: in what it
    differs from the row, "" for the row itself.
    """

    label: str
    row: Row
    setting: Setting
    outcome: Outcome
    reading: str = ""

    @cached_property
    def comparison(self) -> Comparison:
        """Our mean against the report's; without t and p for n < 2."""
        return against_report(self.outcome, self.row)

    @property
    def lr(self) -> str:
        """Learning rate with stepsize or policy, as the report prints it."""
        return self._printed("LR/SS", "CLR/SS/PL") or _lr(self.setting)

    @property
    def momentum(self) -> str:
        """Momentum with the stepsize of its cycle, as the report prints it."""
        return self._printed("momentum/SS", "CM/SS") or _momentum(self.setting)

    def _printed(self, *names: str) -> str:
        if self.reading:
            return ""
        return next((self.row.columns[name] for name in names if name in self.row.columns), "")

    @property
    def dataset(self) -> str:
        """The data set as the report writes it."""
        return self.row.columns.get("dataset", "Cifar-10")

    @property
    def architecture(self) -> str:
        """The architecture as the report writes it."""
        return self.row.columns["architecture"]

    @property
    def weight_decay(self) -> str:
        """The weight decay as the report prints it: "3e-3"."""
        return scientific(self.setting.weight_decay) if self.reading else self.row.columns["WD"]

    # --- numbers as text; "" where there is none ----------------------------------------------

    @property
    def report(self) -> str:
        """The report's mean and deviation."""
        digits = self.row.digits
        return f"{self.row.report_mean:.{digits}f} ± {self.row.report_sd:.{digits}f}"

    @property
    def ours(self) -> str:
        """Our mean and deviation, with one digit more than the report; of one run its value.

        "missing" without any run, "begun" where none is through, "diverged" where all did.
        """
        if self.outcome.missing:
            return "begun" if self.outcome.unfinished else "missing"
        if self.outcome.accuracy.all_diverged:
            return "diverged"
        return self._summary(self.outcome.accuracy.mean, self.outcome.accuracy.sd)

    @property
    def whole(self) -> str:
        """The same on the whole test set; "" where all diverged."""
        if self.outcome.whole.all_diverged:
            return ""
        return self._summary(self.outcome.whole.mean, self.outcome.whole.sd)

    def _summary(self, mean: float, sd: float) -> str:
        digits = self.row.digits + 1
        if math.isnan(mean):
            return ""
        return f"{mean:.{digits}f}" + ("" if math.isnan(sd) else f" ± {sd:.{digits}f}")

    @property
    def difference(self) -> str:
        """Ours less the report's in standard errors of the difference."""
        return "" if math.isnan(self.comparison.t) else f"{self.comparison.t:+.1f}"

    @property
    def p(self) -> str:
        """Of Welch's test."""
        p = self.comparison.p
        return "" if math.isnan(p) else "<.001" if p < 0.001 else f"{p:.3f}"

    @property
    def time(self) -> str:
        """Wall time of a run, the mean."""
        return duration(self.outcome.seconds, unknown="")

    @property
    def speed(self) -> str:
        """Images a second."""
        return "" if math.isnan(self.outcome.speed) else f"{self.outcome.speed:,.0f}"


def lines_of(table: int, manifest: Manifest, store: Store) -> list[Line]:
    """All lines of a table in the report's order, other readings below their row.

    Raises ConfigError where there is no such table.
    """
    if table not in manifest.tables:
        known = " and ".join(map(str, manifest.tables))
        raise ConfigError(f"table {table}: the report has tables {known}")
    return list(_lines(manifest.tables[table], manifest, store))


def _lines(rows: Sequence[Row], manifest: Manifest, store: Store) -> Iterator[Line]:
    for row in rows:
        main = manifest.setting(row.setting)
        yield Line(str(row.number), row, main, outcome_of(main, store))
        for letter, name in zip("abcdefgh", row.alternates, strict=False):
            other = manifest.setting(name)
            label, reading = f"{row.number}{letter}", reading_of(other, main)
            yield Line(label, row, other, outcome_of(other, store), reading)


def reading_of(other: Setting, main: Setting) -> str:
    """In what one setting differs from another, in words: "momentum 0.95-0.85"."""
    found = []
    if other.policy != main.policy:
        found.append(f"{other.policy} learning rate")
    if other.lr != main.lr:
        found.append(f"learning rate {span(other.lr)}")
    if other.momentum != main.momentum:
        found.append(f"momentum {span(other.momentum)}")
    if other.weight_decay != main.weight_decay:
        found.append(f"weight decay {scientific(other.weight_decay)}")
    if other.total_batch != main.total_batch:
        found.append(f"total batch {other.total_batch}")
    elif [plan.batch for plan in other.counted] != [plan.batch for plan in main.counted]:
        found.append("the same batch in all runs")
    fillers = _fillers(other)
    if fillers != _fillers(main):
        found.append(f"{'/'.join(fillers)} fillers" if fillers else "fillers of the net's file")
    if other.epochs != main.epochs:
        found.append(f"{other.epochs:g} epochs")
    return ", ".join(found) or f"as {other.name}"


def _fillers(setting: Setting) -> list[str]:
    """Types of the weight fillers of a setting's runs; [] for those of the net's file."""
    return sorted({plan.filler for plan in setting.counted if plan.filler is not None})


def span(values: Sequence[float]) -> str:
    """One value, or two as the ends of a range: "0.08-0.8"."""
    return "-".join(f"{value:g}" for value in values)


def scientific(value: float) -> str:
    """A number as the report prints weight decays: "3e-3", "1.5e-4"."""
    digits, _, exponent = f"{value:e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}" if value else "0"


def _lr(setting: Setting) -> str:
    tail = f"{setting.stepsize_epochs:g}" if setting.policy == "1cycle" else setting.policy
    return f"{span(setting.lr)}/{tail}"


def _momentum(setting: Setting) -> str:
    cycle = f"/{setting.stepsize_epochs:g}" if len(setting.momentum) > 1 else ""
    return span(setting.momentum) + cycle
