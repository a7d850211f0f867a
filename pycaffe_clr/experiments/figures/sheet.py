"""Puts panels on a sheet: titles and legends above them, the caption below, at fixed sizes.

Everything is placed in inches. Legends stand above their panel, where no curve can run into them.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycaffe_clr.errors import DataError
from pycaffe_clr.experiments.figures import style, text
from pycaffe_clr.experiments.figures.curves import Drawn
from pycaffe_clr.experiments.figures.panel import Look, draw_panel, on_right

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pycaffe_clr.experiments.manifest import Panel

FORMATS = ("png", "pdf", "svg")
# Inches. Two panels make the width of a page's text.
COLUMN, HEIGHT = 3.5, 1.95
_LEFT, _RIGHT, _RIGHT_AXIS, _BELOW, _EDGE = 0.56, 0.24, 0.56, 0.48, 0.06
_TITLE_ROW, _LEGEND_ROW, _CAPTION_ROW, _BANNER = 0.165, 0.135, 0.158, 0.22
_HANDLE = 0.42
_LEGEND_WIDTH = COLUMN - _LEFT - _EDGE
_DPI = 200


@dataclass(frozen=True)
class Cell:
    """A panel with what it is drawn from. letter: "" leaves the title without one."""

    letter: str
    panel: Panel
    curves: Sequence[Drawn]
    look: Look = Look()

    def title(self, inches: float) -> list[str]:
        """The title in lines."""
        lead = f"({self.letter}) " if self.letter else ""
        return text.wrap(lead + self.panel.title, style.TITLE, inches, bold=True)


def render(
    cells: Sequence[Cell],
    caption: Sequence[str] = (),
    banner: str = "",
    scale: float = 1.0,
    head: float = 0.0,
) -> Figure:
    """A matplotlib Figure of the panels.

    caption: its paragraphs, the first the report's; none, no caption. banner: a line on top, for
    what holds of all panels, such as their scale. head: inches that titles and legends have at
    least, for panels that are drawn apart and stand side by side.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(style.SETTINGS):
        columns = min(2, len(cells))
        wide = COLUMN * columns
        rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
        heads = [max(head, *(head_of(cell) for cell in row)) for row in rows]
        lines = _caption_lines(caption, wide - 2 * _EDGE)
        top = _EDGE + (_BANNER if banner else 0)
        tall = top + sum(heads) + len(rows) * (HEIGHT + _BELOW)
        tall += len(lines) * _CAPTION_ROW + (0.1 if lines else 0)
        figure = Figure(figsize=(wide, tall), facecolor=style.PAPER)
        FigureCanvasAgg(figure)
        if banner:
            figure.text(
                _EDGE / wide, 1 - _EDGE / tall, banner, va="top", size=style.TITLE, style="italic"
            )
        y = top
        for row, above in zip(rows, heads, strict=True):
            for column, cell in enumerate(row):
                _place(figure, cell, (column * COLUMN, y), above, scale)
            y += above + HEIGHT + _BELOW
        for number, line in enumerate(lines):
            at = 1 - (y + 0.1 + (number + 0.75) * _CAPTION_ROW) / tall
            figure.text(_EDGE / wide, at, line, size=style.CAPTION, va="baseline")
        return figure


def save(figure: Figure, path: Path, dpi: int = _DPI) -> None:
    """Write a figure; the format is the suffix. Raises DataError."""
    import matplotlib

    # No dates: equal runs give equal files.
    without_date: dict[str, dict[str, Any]] = {
        "png": {},
        "pdf": {"CreationDate": None},
        "svg": {"Date": None},
    }
    kind = path.suffix[1:]
    try:
        with matplotlib.rc_context(style.SETTINGS):
            figure.savefig(path, dpi=dpi, metadata=without_date.get(kind, {}))
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error


def svg(figure: Figure, prefix: str) -> str:
    """The figure as an element for a page: no colours of its own for ink and paper, no size.

    prefix: keeps its names apart from those of other figures on the page.
    """
    import matplotlib

    stream = io.StringIO()
    with matplotlib.rc_context(style.SETTINGS):
        figure.savefig(stream, format="svg", metadata={"Date": None}, transparent=True)
    found = stream.getvalue()
    found = found[found.index("<svg") :]
    found = re.sub(r"<metadata>.*?</metadata>", "", found, flags=re.S)
    found = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', found)
    found = re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}-", found)
    found = re.sub(r'<svg ([^>]*?)width="[^"]*"', r"<svg \1", found, count=1)
    found = re.sub(r'<svg ([^>]*?)height="[^"]*"', r"<svg \1", found, count=1)
    tones = {tone: f"tone-{i}" for i, tone in enumerate(style.DARK_TONES)}
    names = {shade: f"curve-{name}" for name, shade in style.COLOURS.items()}
    for shade, name in {**tones, **names}.items():
        found = found.replace(shade, f"var(--{name}, {shade})")
    found = found.replace("font-family: 'DejaVu Sans'; ", "")  # the page's
    # Coordinates to a hundredth of a point are finer than any screen.
    return re.sub(r' (?:d|x|y)="[^"]*"', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]), found)


def head_of(cell: Cell) -> float:
    """Height of a panel's title and legend, inches."""
    _, rows = _columns(_labels(cell))
    return len(cell.title(COLUMN - 0.2)) * _TITLE_ROW + rows * _LEGEND_ROW + 0.12


def _labels(cell: Cell) -> list[str]:
    if cell.look.draw is not None:
        return []
    labels = [text.legend_label(c, on_right(cell.panel, c)) for c in cell.curves]
    if any(c.author for c in cell.curves):
        labels.append("thin: the author's log")
    if any(c.trunk for c in cell.curves):
        labels.append("up to the snapshot")
    return ["\n".join(text.wrap(label, style.LEGEND, _LEGEND_WIDTH - _HANDLE)) for label in labels]


def _columns(labels: Sequence[str]) -> tuple[int, int]:
    """Columns and rows of a legend."""
    if not labels:
        return 1, 0
    broken = sum(label.count("\n") for label in labels)
    widest = max(text.width(line, style.LEGEND) for label in labels for line in label.split("\n"))
    columns = 1 if broken else max(1, min(len(labels), 3, int(_LEGEND_WIDTH // (widest + _HANDLE))))
    return columns, math.ceil((len(labels) + broken) / columns)


def _place(
    figure: Figure, cell: Cell, corner: tuple[float, float], head: float, scale: float
) -> None:
    """Draw one panel with its head; corner: its upper left one, inches from the sheet's."""
    x, y = corner
    wide, tall = figure.get_size_inches()
    right = any(on_right(cell.panel, c) for c in cell.curves) and cell.look.draw is None
    inside = COLUMN - _LEFT - (_RIGHT_AXIS if right else _RIGHT)
    bottom = tall - y - head - HEIGHT
    axes = figure.add_axes((
        (x + _LEFT) / wide, bottom / tall, inside / wide, HEIGHT / tall
    ))  # fmt: skip
    draw_panel(axes, cell.panel, cell.curves, cell.look, scale)
    lines = cell.title(COLUMN - 0.2)
    for number, line in enumerate(lines):
        at = tall - y - (number + 0.8) * _TITLE_ROW
        figure.text(
            (x + _EDGE) / wide, at / tall, line, size=style.TITLE, weight="bold", va="baseline"
        )
    labels = _labels(cell)
    if labels:
        columns, _ = _columns(labels)
        legend = axes.legend(
            _handles(cell, len(labels)),
            labels,
            loc="upper left",
            bbox_to_anchor=(0, 1 + (head - len(lines) * _TITLE_ROW) / HEIGHT),
            ncols=columns,
            frameon=False,
            fontsize=style.LEGEND,
            borderaxespad=0.5,
            borderpad=0,
            handlelength=2.2,
            handletextpad=0.5,
            columnspacing=1.2,
            labelspacing=0.3,
        )
        for drawn, label in zip(cell.curves, legend.get_texts(), strict=False):
            if drawn.missing:
                label.set_color(style.FAINT)


def _handles(cell: Cell, wanted: int) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = []
    for position, drawn in enumerate(cell.curves):
        name = style.colour_name(drawn.curve.colour, position)
        dashed = on_right(cell.panel, drawn)
        handles.append(
            Line2D(
                [],
                [],
                color=style.COLOURS[name],
                linewidth=style.LINE,
                linestyle=":" if drawn.missing else (0, (4, 1.6)) if dashed else "-",
                marker="" if drawn.missing else style.MARKERS[name],
                markersize=3.8,
                markeredgewidth=0.5,
                markeredgecolor=style.PAPER,
            )  # fmt: skip
        )
    if any(c.author for c in cell.curves):
        handles.append(Line2D([], [], color=style.INK, linewidth=style.THIN))
    if any(c.trunk for c in cell.curves):
        handles.append(Line2D([], [], color=style.FAINT, linewidth=style.LINE))
    return handles[:wanted]


def _caption_lines(paragraphs: Sequence[str], inches: float) -> list[str]:
    return [line for p in paragraphs for line in text.wrap(p, style.CAPTION, inches)]
