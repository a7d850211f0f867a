"""Other readings of whole groups of settings: the same configuration, other runs.

Where one question touches many settings (which fillers a net had), an entry `reading` in a file of
settings makes a setting of its own for each of them, and adds it to their rows and curves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from pycaffe_clr.experiments.manifest import Curve, Figure, Row, Setting
from pycaffe_clr.experiments.protocol import filler_plans


@dataclass(frozen=True)
class Reading:
    """Settings `name + suffix` for those that fit a pattern of `of` and none of `but`, as other
    readings of the rows and curves that show the plain ones."""

    suffix: str
    of: tuple[str, ...]
    but: tuple[str, ...]
    note: str

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Reading:
        """From an entry of a file."""
        of, but = tuple(entry["of"]), tuple(entry.get("but", ()))
        return cls(entry["suffix"], of, but, entry["note"])

    def fits(self, name: str) -> bool:
        """Whether a setting has this reading."""
        return any(fnmatchcase(name, p) for p in self.of) and not any(
            fnmatchcase(name, p) for p in self.but
        )

    def settings(self, known: Iterable[Setting]) -> dict[str, Setting]:
        """The new settings: xavier and msra in turn, whatever the net's file has."""
        found = {}
        for setting in [s for s in known if self.fits(s.name)]:
            start = setting.start
            if start and self.fits(start[0]):
                start = (start[0] + self.suffix, start[1])
            plans = filler_plans(setting.counted)
            name = setting.name + self.suffix
            notes = (*setting.notes, self.note)
            found[name] = dataclasses.replace(
                setting, name=name, runs=plans, start=start, notes=notes, protocol="four"
            )
        return found

    def row(self, row: Row) -> Row:
        """The row with its reading."""
        return dataclasses.replace(row, alternates=self._names(row.setting, row.alternates))

    def curve(self, curve: Curve) -> Curve:
        """The curve with its reading."""
        return dataclasses.replace(curve, alternates=self._names(curve.setting, curve.alternates))

    def figure(self, figure: Figure) -> Figure:
        """The figure with all its curves so."""
        panels = {
            letter: dataclasses.replace(panel, curves=tuple(map(self.curve, panel.curves)))
            for letter, panel in figure.panels.items()
        }
        return dataclasses.replace(figure, panels=panels)

    def _names(self, setting: str, alternates: tuple[str, ...]) -> tuple[str, ...]:
        return (*alternates, setting + self.suffix) if self.fits(setting) else alternates
