"""All figures of a manifest over the runs of some folders: panels, curves and captions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.experiments.figures import captions, sheet
from pycaffe_clr.experiments.figures.curves import Curves, Drawn
from pycaffe_clr.experiments.figures.panel import Look
from pycaffe_clr.experiments.figures.readings import readings_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure

    from pycaffe_clr.experiments.claims import Verdict
    from pycaffe_clr.experiments.manifest import Figure, Manifest, Panel

NUMBERS = tuple(range(1, 17))


def numbers_of(words: list[str]) -> list[int]:
    """Figure numbers of `1`, `3-5` and `all`, in order. Raises ConfigError for anything else."""
    found: set[int] = set()
    for word in words:
        first, dash, last = word.partition("-")
        if word == "all":
            found.update(NUMBERS)
        elif first.isdecimal() and (last.isdecimal() if dash else True):
            found.update(range(int(first), int(last or first) + 1))
        else:
            raise ConfigError(f"figures: {word!r} is no figure; expected 1 ... 16, 3-5 or all")
    wrong = sorted(found - set(NUMBERS))
    if wrong:
        raise ConfigError(f"figures: there is no figure {wrong[0]}; the report has 1 to 16")
    return sorted(found)


class Album:
    """Draws figures; each run is read once, however many figures show it."""

    def __init__(self, manifest: Manifest, curves: Curves) -> None:
        self.manifest = manifest
        self.curves = curves
        self._cells: dict[int, list[sheet.Cell]] = {}
        self._verdicts: dict[int, list[Verdict]] = {}

    def cells(self, number: int) -> list[sheet.Cell]:
        """The panels of a figure with their curves."""
        if number not in self._cells:
            looks = module_of(number).LOOKS
            panels = self.panels(number)
            self._cells[number] = [
                sheet.Cell(
                    letter=letter if letter != "a" or len(panels) > 1 else "",
                    panel=panel,
                    curves=self.curves.panel(panel),
                    look=looks.get(letter, Look()),
                )
                for letter, panel in panels.items()
            ]
        return self._cells[number]

    def panels(self, number: int) -> Mapping[str, Panel]:
        """The panels of a figure; of one that is a drawing, a panel without curves."""
        figure = self.figure(number)
        if figure.panels:
            return figure.panels
        from pycaffe_clr.experiments.manifest import Panel

        return {"a": Panel("a", figure.title, "", "", "", "", None, None, ())}

    def drawn(self, number: int) -> list[Drawn]:
        """All curves of a figure."""
        return [curve for cell in self.cells(number) for curve in cell.curves]

    def caption(self, number: int) -> list[str]:
        """The caption in paragraphs: the report's, then what ours shows."""
        return captions.paragraphs(self.figure(number), self.drawn(number), self.verdicts(number))

    def verdicts(self, number: int) -> list[Verdict]:
        """What these runs say of the report's claims about a figure; nothing of scaled runs."""
        from pycaffe_clr.experiments.claims import check_claims

        if self.curves.scale != 1:
            return []
        if number not in self._verdicts:
            self._verdicts[number] = check_claims(self.figure(number), self.curves.store)
        return self._verdicts[number]

    def readings(self, number: int) -> dict[str, Album]:
        """Other readings of a figure that have runs of their own, by their difference in words."""
        found = {}
        as_drawn = set(self.figure(number).settings)
        for words, figure in readings_of(self.manifest, number).items():
            other = Album(replace(self.manifest, figures={number: figure}), self.curves)
            if any(not c.missing for c in other.drawn(number) if c.curve.setting not in as_drawn):
                found[words] = other
        return found

    def figure(self, number: int) -> Figure:
        """What the manifest says of a figure."""
        return self.manifest.figures[number]

    @property
    def banner(self) -> str:
        """What stands above every figure of scaled runs."""
        scale = self.curves.scale
        return f"scaled to {100 * scale:.3g} %: short runs on small data" if scale != 1 else ""

    def sheet(self, number: int, caption: bool = True) -> MplFigure:
        """A figure as a matplotlib Figure, with its caption or without."""
        words = self.caption(number) if caption else ()
        return sheet.render(self.cells(number), words, self.banner, self.curves.scale)


def module_of(number: int) -> ModuleType:
    """The module of a figure."""
    return import_module(f"pycaffe_clr.experiments.figures.fig{number:02d}")
