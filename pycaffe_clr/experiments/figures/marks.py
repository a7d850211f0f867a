"""What the report's text points at in a panel: a box, a rate, the iteration of a turn.

Each makes a function for Look.mark. Iterations shrink with the scale of the runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pycaffe_clr.experiments.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Mark = Callable[["Axes", float], None]


def upright(axes: Axes, x: float, label: str, height: float = 0.97) -> None:
    """An upright line at x, with a word. height: of the word, a fraction of the panel's."""
    axes.axvline(x, color=style.FAINT, linewidth=0.7, linestyle=(0, (2, 2)), zorder=1)
    if label:
        low, high = axes.get_xlim()
        before = x > low + 0.7 * (high - low)
        axes.annotate(
            label,
            (x, height),
            xycoords=("data", "axes fraction"),
            xytext=(-2 if before else 2, 0),
            textcoords="offset points",
            ha="right" if before else "left",
            va="top",
            size=style.TICK - 0.5,
            color=style.FAINT,
        )


def rates(*marked: tuple[float, str]) -> Mark:
    """Upright lines at learning rates, each with a word (may be empty)."""

    def mark(axes: Axes, scale: float) -> None:
        for x, label in marked:
            upright(axes, x, label)

    return mark


def iterations(at: Sequence[float], label: str, height: float) -> Mark:
    """Upright lines at iterations; the first one has the label, at this height."""

    def mark(axes: Axes, scale: float) -> None:
        for number, x in enumerate(at):
            upright(axes, x * scale, "" if number else label, height)

    return mark


def box(low: float, high: float, label: str) -> Mark:
    """A shaded range of the x axis, as the report's box in Figure 1a."""

    def mark(axes: Axes, scale: float) -> None:
        axes.axvspan(low, high, color=style.INK, alpha=0.07, linewidth=0, zorder=0)
        for edge in (low, high):
            axes.axvline(edge, color=style.FAINT, linewidth=0.6, zorder=1)
        axes.annotate(
            label, (high, 0.97), xycoords=("data", "axes fraction"), xytext=(3, 0),
            textcoords="offset points", va="top", size=style.TICK - 0.5, color=style.FAINT,
        )  # fmt: skip

    return mark
