"""Groups of runs laid over each other: mean lines with bands, a panel for each quantity."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pycaffe_clr.errors import DataError
from pycaffe_clr.experiments.compare import XS, YS, along, band_of
from pycaffe_clr.experiments.figures.curves import LOSS_CAP, thinned
from pycaffe_clr.experiments.groups import Group, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, which colour-blind readers can tell apart; yellow is too light for lines.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = ("-", (0, (4, 1.6)), (0, (1, 1)))
_MARKERS = "os^Dv<>"
_MAX_POINTS = 600
_LABEL = 60


@dataclass(frozen=True)
class Line:
    """One curve of a panel. sd: nan where there is one run. n: runs behind it."""

    label: str
    x: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    n: int


def lines_of(groups: Sequence[Group], y: str, x: str = "iteration", images: int = 0) -> list[Line]:
    """The curves of the groups, in their order; without points where a group lacks the quantity.

    Raises ConfigError where a group does not know the axis.
    """
    found = []
    for group in groups:
        band = band_of(group, y)
        kept = thinned(len(band.x), _MAX_POINTS)
        at = along(group, x, band.x[kept], images) if len(kept) else band.x
        found.append(Line(group.label, at, band.mean[kept], band.sd[kept], band.n))
    return found


def draw(
    groups: Sequence[Group],
    ys: Sequence[str],
    out: Path,
    x: str = "iteration",
    images: int = 0,
    title: str = "",
) -> None:
    """Draw a panel for each quantity of ys into a file (.png, .pdf or .svg).

    Raises ConfigError where a group does not know the axis, DataError where there is nothing to
    draw or the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [(y, lines_of(groups, y, x, images)) for y in ys]
    panels = [(y, lines) for y, lines in panels if any(len(line.x) for line in lines)]
    if not panels:
        raise DataError(f"nothing to draw: none of the runs has {' or '.join(ys)}")
    tall = 3.0 if len(panels) < 3 else 2.2
    size = (7.5, 0.6 + 0.2 * len(groups) + tall * len(panels))
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, fontsize=11)
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for panel, (y, lines) in zip(axes, panels, strict=True):
        _panel(panel, y, lines)
    axes[-1].set_xlabel(XS[x])
    if x in ("iteration", "seconds"):
        axes[-1].xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    handles, labels = _legend(axes)
    figure.legend(handles, labels, loc="outside lower center", frameon=False, fontsize=8.5)
    figure.align_ylabels(axes)
    try:
        figure.savefig(out, dpi=150)
    except ValueError as error:
        raise DataError(f"{out}: {error}") from error
    except OSError as error:
        raise DataError(f"{out}: cannot be written: {error.strerror}") from error


def _legend(axes: Any) -> tuple[list[Any], list[str]]:
    """Each group once, whichever panels show it."""
    found: dict[str, Any] = {}
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return list(found.values()), list(found)


def _panel(panel: Axes, y: str, lines: Sequence[Line]) -> None:
    panel.set_ylabel(YS[y])
    panel.grid(color="0.9", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    styles = itertools.product(_STYLES, zip(_COLOURS, _MARKERS, strict=True))
    for position, (line, (dashes, (colour, marker))) in enumerate(zip(lines, styles, strict=False)):
        if not len(line.x):
            continue
        low, high = line.mean - line.sd, line.mean + line.sd
        if np.isfinite(low).any():
            panel.fill_between(line.x, low, high, color=colour, alpha=0.2, linewidth=0)
        gap = max(1, len(line.x) // 12)
        label = readable(line.label, _LABEL) + (f" (mean of {line.n})" if line.n > 1 else "")
        panel.plot(
            line.x, line.mean, color=colour, linestyle=dashes, linewidth=1.5, label=label,
            marker=marker, markersize=4, markeredgecolor="white", markeredgewidth=0.5,
            markevery=(min(len(line.x) - 1, position * gap // max(1, len(lines))), gap),
        )  # fmt: skip
    _range(panel, y, [line.mean for line in lines if len(line.x)])


def _range(panel: Axes, y: str, curves: Sequence[np.ndarray]) -> None:
    """Room for what settles: a curve that climbs above where it began may leave at the top.

    A band of accuracies ends at what an accuracy can be.
    """
    if y == "accuracy":
        low, high = panel.get_ylim()
        panel.set_ylim(max(low, 0), min(high, 101))
    if y not in ("test_loss", "train_loss"):
        return
    settled = [values[values < LOSS_CAP / 2] for values in curves]
    settled = [values for values in settled if len(values)]
    if not settled:
        return
    low = min(float(values.min()) for values in settled)
    high = max(min(float(values.max()), 1.2 * float(values[0])) for values in settled)
    if low > 0 and high > 30 * low:
        panel.set_yscale("log")
        panel.set_ylim(low / 1.3, high * 1.3)
    elif high > low:
        panel.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
