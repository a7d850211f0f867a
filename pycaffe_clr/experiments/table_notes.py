"""What is said below a table: what its numbers are, which runs they rest on, what was assumed."""

from __future__ import annotations

from collections.abc import Sequence

from pycaffe_clr.experiments.tables import Line

GENERAL = (
    "Ours is the mean ± sample standard deviation of n runs of the four-run protocol, each at its "
    "last logged test, which is what the report calls final accuracy. diff/SE is ours less the "
    "report's in standard errors of the difference, p that of Welch's test (two-sided), both from "
    "the report's mean and deviation as printed, of 4 runs. Nothing is filled in: what was not run "
    "is missing, and with one run there is neither deviation nor test."
)


def notes_of(lines: Sequence[Line], readings: bool = True) -> list[str]:
    """The notes to these lines, each a sentence or two that names its rows.

    readings: say in what the other readings differ, where the table itself does not.
    """
    notes = [GENERAL, *_cycling(lines)]
    if readings:
        notes += _readings(lines)
    notes += _runs(lines)
    notes += _assumed(lines)
    notes += [
        f"{line.label}: {note}" for line in lines for note in line.row.notes if not line.reading
    ]
    return notes


def _cycling(lines: Sequence[Line]) -> list[str]:
    """Of the rows whose momentum cycles, and may not have cycled in the report's runs."""
    labels = [line.label for line in lines if line.setting.cycling and not line.reading]
    if not labels:
        return []
    return [
        f"Cyclical momentum is applied in {ranges(labels)}; in the report's runs it was most "
        "likely constant at its start (solvers/results), so what compares with these rows is a "
        "reading with that momentum."
    ]


def _readings(lines: Sequence[Line]) -> list[str]:
    readings = [f"{line.label}: {line.reading}" for line in lines if line.reading]
    if not readings:
        return []
    return [f"Other readings of a row, which may be what was run: {'; '.join(readings)}."]


def _runs(lines: Sequence[Line]) -> list[str]:
    notes = []
    missing = [line.label for line in lines if line.ours == "missing"]
    if missing:
        notes.append(f"Missing: {ranges(missing)}.")
    for line in lines:
        outcome = line.outcome
        said = [
            f"{plan} diverged at iteration {iteration:,} and counts at chance, "
            f"{100 / line.setting.classes:g} %"
            for plan, iteration in outcome.diverged
        ]
        said += [
            f"{run.plan} {run.state} at {run.iteration:,} of {run.max_iter:,} iterations, "
            "not counted"
            for run in outcome.unfinished
        ]
        said += [
            f"{run.plan} has {run.iteration:,} of {line.setting.max_iter:,} iterations, not counted"
            for run in outcome.shortened
        ]
        said += [f"{run.plan} in {run.folder} cannot be read" for run in outcome.unreadable]
        if said:
            notes.append(f"{line.label}: {'; '.join(said)}.")
    return notes


def _assumed(lines: Sequence[Line]) -> list[str]:
    """Values that neither the text nor the author's files give, each said once."""
    rows: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        for field, why in line.setting.assumed.items():
            rows.setdefault((field, why), []).append(line.label)
    return [
        f"Assumed in {ranges(labels)}: {field.replace('_', ' ')}: {why}."
        for (field, why), labels in rows.items()
    ]


def ranges(labels: Sequence[str]) -> str:
    """Labels in short: "1-4, 6, 6a"."""
    found: list[list[str]] = []
    for label in labels:
        last = found[-1][-1] if found else ""
        if label.isdigit() and last.isdigit() and int(label) == int(last) + 1:
            found[-1].append(label)
        else:
            found.append([label])
    return ", ".join(g[0] if len(g) == 1 else f"{g[0]}-{g[-1]}" for g in found)
