"""What `compare` prints: a table with error bars, times to an accuracy, two curves apart."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from pycaffe_clr.experiments.compare import YS, Apart, Entry
from pycaffe_clr.experiments.groups import readable
from pycaffe_clr.experiments.statistics import Summary

WIDTH = 80
_LABEL = 36


def text_of(entries: Sequence[Entry], parts: Sequence[Apart] = ()) -> str:
    """Tables and notes, for 80 columns. parts: of two groups, how far their curves are apart."""
    rows = [["", "n", "accuracy", "diff/SE", "p", "test loss", "whole"]]
    for entry in entries:
        against = entry.against
        rows.append([
            readable(entry.group.label, _LABEL),
            str(entry.accuracy.n),
            number(entry.accuracy, 2),
            "" if against is None or math.isnan(against.t) else f"{against.t:+.1f}",
            "" if against is None or math.isnan(against.p) else _p(against.p),
            number(entry.loss, 3),
            number(entry.whole, 2),
        ])  # fmt: skip
    lines = ["Last logged test; accuracy in %", *columns(rows), ""]
    levels = list(entries[0].reach)
    if levels:
        rows = [["", *(f"{level:g} %" for level in levels)]]
        for entry in entries:
            cells = [_reach(entry.reach[level], len(entry.group.runs)) for level in levels]
            rows.append([readable(entry.group.label, _LABEL), *cells])
        lines += ["Iterations until a test shows", *columns(rows), ""]
    if parts:
        lines += [*_apart(parts), ""]
    for note in notes_of(entries, parts):
        lines += textwrap.wrap(note, WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join(line.rstrip() for line in lines)


def number(summary: Summary, digits: int) -> str:
    """Mean and deviation; "" without a value."""
    if math.isnan(summary.mean):
        return ""
    text = f"{summary.mean:.{digits}f}"
    return text if math.isnan(summary.sd) else f"{text}±{summary.sd:.{digits}f}"


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows with their cells aligned, the first column to the left; a rule below the first row."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = ["<", *">" * (len(widths) - 1)]
    found = [
        " ".join(f"{c:{side}{w}}" for c, side, w in zip(row, sides, widths, strict=True))
        for row in rows
    ]
    return [found[0], "-" * len(found[0]), *found[1:]]


def _p(p: float) -> str:
    return "<.001" if p < 0.001 else f"{p:.3f}"


def _reach(summary: Summary, runs: int) -> str:
    if not summary.n:
        return "never"
    text = f"{summary.mean:,.0f}"
    if not math.isnan(summary.sd):
        text += f"±{summary.sd:,.0f}"
    return text if summary.n == runs else f"{text} ({summary.n} of {runs})"


def _apart(parts: Sequence[Apart]) -> list[str]:
    rows = [["", "mean |diff|", "largest", "at", "at the end"]]
    for part in parts:
        digits = 2 if part.y == "accuracy" else 3
        one, two = (f"{value:.{digits}f}" for value in part.ends)
        rows.append([
            YS[part.y],
            f"{part.mean:.{digits}f}",
            f"{part.largest:+.{digits}f}",
            f"{part.at:,.0f}",
            f"{one} - {two} = {part.ends[0] - part.ends[1]:+.{digits}f}",
        ])  # fmt: skip
    begin, end = parts[0].begin, parts[0].end
    head = f"How far apart, first less second, from iteration {begin:,.0f} to {end:,.0f}"
    return [head, *columns(rows), *_at_points([part for part in parts if part.points > 2])]


def _at_points(parts: Sequence[Apart]) -> list[str]:
    if not parts:
        return []
    rows = [["", "points", "rms", "noise", "by quarter, in standard errors"]]
    for part in parts:
        digits = 2 if part.y == "accuracy" else 3
        rows.append([
            YS[part.y],
            str(part.points),
            f"{part.rms:.{digits}f}",
            f"{part.noise:.{digits}f}",
            quarters_of(part),
        ])  # fmt: skip
    return ["", "At the points of both", *columns(rows)]


def quarters_of(part: Apart) -> str:
    """The mean difference in each quarter, in standard errors; "" where that is not known."""
    known = all(map(math.isfinite, part.quarters))
    return " ".join(f"{value:+.1f}" for value in part.quarters) if known else ""


_POINTS = (
    "rms: root mean square difference; noise: standard deviation of a difference about a smooth "
    "course, from second differences; by quarter: mean difference in each quarter of the points, "
    "in standard errors by that noise."
)


def notes_of(entries: Sequence[Entry], parts: Sequence[Apart] = ()) -> list[str]:
    """What the numbers rest on, and which runs they leave out."""
    notes = [_POINTS] if any(part.points > 2 for part in parts) else []
    if any(entry.accuracy.n > 1 for entry in entries):
        notes.append("± is the sample standard deviation of the n runs.")
    if any(e.against is not None and not math.isnan(e.against.t) for e in entries):
        notes.append(
            "diff/SE: less the first, in standard errors of the difference; p: Welch's test "
            "against the first, two-sided."
        )
    for entry in entries:
        said = []
        for run in entry.group.runs:
            name = run.path.name
            if run.diverged:
                how = "is left out: how many classes there are is not known"
                if entry.group.classes:
                    how = f"counts at chance, {100 / entry.group.classes:g} %"
                said.append(f"{name} diverged at iteration {run.iteration:,} and {how}")
            elif not run.final and run.state != "log":
                said.append(f"{name} is {run.state}, at {run.iteration:,} of {run.max_iter:,}")
        if said:
            notes.append(f"{entry.group.label}: {'; '.join(said)}.")
    return notes
