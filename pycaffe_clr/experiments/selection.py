"""Which settings of the manifest a command is about: by table, figure, row, name, data or cost."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.experiments.estimate import Estimates
from pycaffe_clr.experiments.manifest import Manifest, Setting


@dataclass(frozen=True)
class Selection:
    """What is asked for; each field that is given narrows the choice further.

    names: settings, as patterns (`cifar3_range*`). tables: "1", "2". rows: of these tables, "3",
    "11-15". figures: "7", "7c". datasets: "mnist", ... nets: patterns of net names or
    architectures. max_seconds: of one run. readings: also what a row or curve may have been
    instead (other batches, rates and momenta where the report's sources disagree).
    """

    names: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    nets: tuple[str, ...] = ()
    max_seconds: float | None = None
    readings: bool = False


def select(
    manifest: Manifest, selection: Selection, estimates: Estimates | None = None
) -> list[Setting]:
    """The settings that fit, in the report's order: tables, figures, then what is in neither.

    estimates: of the time of a run; left out, those of a machine that is known. Raises ConfigError
    for a table, row, figure or name that is none.
    """
    wanted: set[str] = set(manifest.settings)
    if selection.names:
        wanted &= set(_by_name(manifest, selection.names))
    if selection.tables or selection.rows:
        found = _by_table(manifest, selection)
        if selection.figures:
            found |= _by_figure(manifest, selection)
        wanted &= found
    elif selection.figures:
        wanted &= _by_figure(manifest, selection)
    speeds = Estimates() if estimates is None else estimates
    return [
        setting
        for name in ordered(manifest)
        if name in wanted and _fits(setting := manifest.settings[name], selection, speeds)
    ]


def ordered(manifest: Manifest) -> list[str]:
    """All settings in the report's order, each where it comes first, other readings beside it."""
    rows = [row for table in manifest.tables.values() for row in table]
    curves = [curve for figure in manifest.figures.values() for curve in figure.curves]
    names = [name for row in rows for name in (row.setting, *row.alternates)]
    names += [name for curve in curves for name in (curve.setting, *curve.alternates)]
    return list(dict.fromkeys([*names, *manifest.settings]))


def _fits(setting: Setting, selection: Selection, estimates: Estimates) -> bool:
    if selection.datasets and setting.dataset not in selection.datasets:
        return False
    if selection.nets and not any(
        fnmatchcase(name, pattern)
        for pattern in selection.nets
        for name in (setting.net, setting.architecture)
    ):
        return False
    if selection.max_seconds is None:
        return True
    return estimates.seconds(setting.net, setting.work) <= selection.max_seconds


def _by_name(manifest: Manifest, patterns: Iterable[str]) -> list[str]:
    found = []
    for pattern in patterns:
        names = [name for name in manifest.settings if fnmatchcase(name, pattern)]
        if not names:
            manifest.setting(pattern)  # raises, with near names
        found += names
    return found


def _by_table(manifest: Manifest, selection: Selection) -> set[str]:
    tables = [_number(text, "table", manifest.tables) for text in selection.tables]
    numbers = _rows(selection.rows)
    found: set[str] = set()
    for table in tables or manifest.tables:
        rows = manifest.tables[table]
        if selection.rows and not selection.tables and len(manifest.tables) > 1:
            raise ConfigError("--row needs --table: both tables have rows of that number")
        for number in numbers:
            if not 1 <= number <= len(rows):
                raise ConfigError(f"table {table} has no row {number}; it has {len(rows)}")
        for row in rows:
            if not numbers or row.number in numbers:
                found |= {row.setting, *(row.alternates if selection.readings else ())}
    return found


def _rows(texts: Iterable[str]) -> set[int]:
    numbers: set[int] = set()
    for text in texts:
        for part in text.split(","):
            match = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
            if not match:
                raise ConfigError(f"row {part!r}: expected a number or two, as in 11-15")
            numbers |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    return numbers


def _by_figure(manifest: Manifest, selection: Selection) -> set[str]:
    found: set[str] = set()
    for text in selection.figures:
        match = re.fullmatch(r"(\d+)([a-z]?)", text.strip())
        if not match:
            raise ConfigError(f"figure {text!r}: expected a number, and a panel's letter or none")
        figure = manifest.figures[_number(match[1], "figure", manifest.figures)]
        if not figure.settings:
            raise ConfigError(f"figure {match[1]} is a drawing: no run belongs to it")
        if match[2] and match[2] not in figure.panels:
            panels = ", ".join(figure.panels) or "none"
            raise ConfigError(f"figure {match[1]} has no panel {match[2]}; its panels: {panels}")
        for letter, panel in figure.panels.items():
            for curve in panel.curves if match[2] in ("", letter) else ():
                found |= {curve.setting, *(curve.alternates if selection.readings else ())}
    return found


def _number(text: str, word: str, known: Iterable[int]) -> int:
    if not text.isdigit() or int(text) not in known:
        raise ConfigError(f"{word} {text!r} is none of {', '.join(map(str, known))}")
    return int(text)
