"""One panel: axes, mean lines with bands, the author's curves, insets and divergences."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pycaffe_clr.experiments.figures import marks, style, text
from pycaffe_clr.experiments.figures.curves import LOSS_CAP, Drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pycaffe_clr.experiments.manifest import Panel

Range = tuple[float, float]
Inset = tuple[float, float, float, float]


@dataclass(frozen=True)
class Look:
    """What a figure's module says of one of its panels, beyond the manifest.

    inset: (left, bottom, width, height) in fractions of the panel: a blow-up of the end. mark:
    called with the axes and the scale of the runs to add what the report's text points at, e.g.
    Figure 1's box. ylim: the range of the losses where neither report nor runs give one. draw: a
    drawing in place of curves.
    """

    inset: Inset | None = None
    mark: Callable[[Axes, float], None] | None = None
    ylim: Range | None = None
    draw: Callable[[Axes], None] | None = None


def draw_panel(
    axes: Axes, panel: Panel, curves: Sequence[Drawn], look: Look, scale: float = 1.0
) -> None:
    """Draw the curves of a panel into matplotlib axes; header and legend are the sheet's.

    scale: of the runs: the report's ranges of iterations shrink with it.
    """
    _plain(axes)
    if look.draw is not None:
        look.draw(axes)
        return
    left = [(i, c) for i, c in enumerate(curves) if not on_right(panel, c)]
    right = [(i, c) for i, c in enumerate(curves) if on_right(panel, c)]
    xlim = x_range(panel, curves, scale)
    axes.set_xlim(*xlim)
    if panel.x == "iteration":
        axes.set_xlabel(panel.xlabel + text.iteration_ticks(axes.xaxis, xlim[1]))
    else:
        axes.set_xlabel(panel.xlabel)
        text.number_ticks(axes.xaxis)
    _fill(axes, left, panel.ylim or y_range([c for _, c in left], look.ylim))
    axes.set_ylabel(panel.ylabel.split(";")[0])  # "Loss; accuracy": the second has its own axis
    if right:
        other = axes.twinx()
        _plain(other)
        other.spines["right"].set_visible(True)
        _fill(other, right, y_range([c for _, c in right], None), dashed=True)
        other.grid(visible=False)
        other.set_ylabel("Test accuracy (%), dashed")
    starts = [c.start for c in curves if c.start is not None]
    if starts:
        marks.upright(axes, starts[0], "snapshot")
    if look.mark is not None:
        look.mark(axes, scale)
    if all(c.missing and not c.author for c in curves):
        said = axes.text(
            0.5, 0.35, "not run yet", transform=axes.transAxes, color=style.FAINT, ha="center"
        )
        said.set_bbox({"facecolor": style.PAPER, "edgecolor": "none", "pad": 4})
    if look.inset is not None:
        _inset(axes, left, look.inset)


def on_right(panel: Panel, drawn: Drawn) -> bool:
    """Whether a curve belongs to the right axis: accuracy in a panel of losses."""
    return drawn.y == "accuracy" and panel.y != "accuracy"


def x_range(panel: Panel, curves: Sequence[Drawn], scale: float = 1.0) -> Range:
    """The report's range, else what the settings of the curves plan."""
    if panel.xlim is not None:
        low, high = panel.xlim
        return (low * scale, high * scale) if panel.x == "iteration" else (low, high)
    extents = [c.extent for c in curves if c.extent]
    if not extents:
        return 0.0, 1.0
    low, high = min(e[0] for e in extents), max(e[1] for e in extents)
    if low < 0.12 * high:
        low = 0.0
    # Up to a round number if that is near, so that the last tick is seen.
    unit = 10.0 ** (math.floor(math.log10(max(high, 1e-9))) - 1)
    round_up = math.ceil(high / unit) * unit
    high = round_up if round_up < 1.03 * high else high
    return (low, high) if high > low else (low, low + 1)


def y_range(curves: Sequence[Drawn], otherwise: Range | None) -> Range:
    """A range that shows the curves and lets those leave that diverge."""
    parts = [(c.mean, c.deviation) for c in curves if len(c.mean)]
    parts += [(p[1], np.zeros(0)) for c in curves for p in c.others]
    if not parts:
        return otherwise or ((0.0, 100.0) if curves and curves[0].y == "accuracy" else (0.0, 2.5))
    if curves[0].y == "accuracy":
        lows = [float(np.percentile(mean, 2)) for mean, _ in parts]
        highs = [float(mean.max()) for mean, _ in parts]
        low, high = min(lows), max(highs)
        margin = 0.06 * max(high - low, 1)
        return max(0.0, low - margin), min(100.0, high + margin)
    settled = [mean[mean < 0.5 * LOSS_CAP] for mean, _ in parts]
    settled = [mean for mean in settled if len(mean)]
    if not settled:
        return otherwise or (0.0, 2.5)
    low = min(float(mean.min()) for mean in settled)
    # A curve that climbs above where it began is diverging: it may leave at the top.
    high = max(min(float(mean.max()), 1.1 * float(mean[0])) for mean in settled)
    margin = 0.06 * max(high - low, 1e-3)
    return low - margin, high + margin


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=style.RULE, linewidth=0.6)
    axes.set_axisbelow(True)


def _fill(
    axes: Axes,
    curves: Sequence[tuple[int, Drawn]],
    ylim: Range,
    dashed: bool = False,
    small: bool = False,
) -> None:
    axes.set_ylim(*ylim)
    text.number_ticks(axes.yaxis)
    for position, drawn in curves:
        _line(axes, drawn, position, dashed, 0.8 if small else 1.0)
        for x in drawn.diverged if not small else ():
            _divergence(axes, x, ylim[1] if drawn.y != "accuracy" else ylim[0], drawn, position)


def _line(axes: Axes, drawn: Drawn, position: int, dashed: bool, thick: float) -> None:
    name = style.colour_name(drawn.curve.colour, position)
    colour = style.COLOURS[name]
    if drawn.trunk is not None:
        axes.plot(*drawn.trunk, color=style.FAINT, linewidth=style.LINE * thick, zorder=2)
    for author in drawn.author:
        axes.plot(*author, color=colour, linewidth=style.THIN, zorder=2.5, alpha=0.9)
    if drawn.missing:
        return
    low, high = drawn.mean - drawn.deviation, drawn.mean + drawn.deviation
    if np.isfinite(low).any():
        axes.fill_between(drawn.x, low, high, color=colour, alpha=style.BAND, linewidth=0, zorder=2)
    # Ten markers, and not where the other curves have theirs.
    gap = max(1, len(drawn.x) // 10)
    axes.plot(
        drawn.x,
        drawn.mean,
        color=colour,
        linewidth=style.LINE * thick,
        linestyle=(0, (4, 1.6)) if dashed else "-",
        marker=style.MARKERS[name],
        markersize=3.8,
        markeredgewidth=0.5,
        markeredgecolor=style.PAPER,
        markevery=(min(len(drawn.x) - 1, position * gap // 4), gap),
        zorder=3,
    )


def _divergence(axes: Axes, x: float, y: float, drawn: Drawn, position: int) -> None:
    colour = style.COLOURS[style.colour_name(drawn.curve.colour, position)]
    axes.plot(
        [x], [y], "X", color=colour, markersize=6, markeredgewidth=0.6,
        markeredgecolor=style.PAPER, clip_on=False, zorder=6,
    )  # fmt: skip


def _inset(axes: Axes, curves: Sequence[tuple[int, Drawn]], place: Inset) -> None:
    """A blow-up of where the curves end, and the box that it shows; not of diverged runs."""
    through = [c for _, c in curves if not c.missing and not c.diverged and not c.unfinished]
    lines = [(c.x, c.mean) for c in through] + [p for _, c in curves for p in c.author]
    if len(lines) < 2:
        return  # nothing to compare
    ends = [float(x[-1]) for x, _ in lines]
    first, last = min(ends), max(ends)
    xlim = (0.85 * first, last + 0.02 * (last - 0.85 * first))
    tails = [values[x >= 0.92 * x[-1]] for x, values in lines]
    low = min(float(tail.min()) for tail in tails)
    high = max(float(tail.max()) for tail in tails)
    margin = 0.3 * max(high - low, 0.2)
    small = axes.inset_axes(place)
    _plain(small)
    small.set_facecolor(style.PAPER)
    small.spines[["top", "right"]].set_visible(True)
    small.set_xlim(*xlim)
    _fill(small, curves, (low - margin, high + margin), small=True)
    text.iteration_ticks(small.xaxis, xlim[1])
    for axis in (small.xaxis, small.yaxis):
        text.thin_ticks(axis, 3)
    small.tick_params(labelsize=style.TICK - 1)
    shown = axes.indicate_inset_zoom(small, edgecolor=style.INK, alpha=1, linewidth=0.6)
    for connector in shown.connectors or ():
        connector.set_visible(False)  # they would cross the curves
