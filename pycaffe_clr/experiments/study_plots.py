"""Pictures of a range test (the two panels of Figure 1) and of a search (Figures 10 and 12)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pycaffe_clr.errors import DataError
from pycaffe_clr.experiments.clue_kinds import number
from pycaffe_clr.experiments.curves import Curve, smoothed
from pycaffe_clr.experiments.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pycaffe_clr.experiments.range_test import RangeTest

_WIDTH, _HEIGHT = 3.7, 3.8
_SHADE = 0.12


def draw_range(found: RangeTest, path: Path, title: str) -> None:
    """Draw a range test: losses and accuracy, and the generalization error, over the rate.

    Shaded: where it overfits. Dashed upright: the maximum rate. Raises DataError.
    """
    curve, clues, rates = found.curve, found.clues, found.rates
    with _figure(path, title, 2) as (left, right):
        _limits(left, [curve.test_loss, curve.train_loss])
        _line(left, curve.x, curve.train_loss, "blue", "training loss")
        _line(left, curve.x, curve.test_loss, "red", "validation loss")
        left.set_ylabel("loss")
        if np.isfinite(curve.accuracy).any():
            other = left.twinx()
            other.set_ylabel("validation accuracy (%), dashed")
            other.spines["top"].set_visible(False)
            _line(other, curve.x, 100 * curve.accuracy, "yellow", "validation accuracy", "--")
            other.set_ylim(bottom=0, top=100)
            left.plot([], [], "--", color=style.COLOURS["yellow"], label="validation accuracy")
        right.set_ylabel("validation loss \N{MINUS SIGN} training loss")
        _limits(right, [curve.generalization])
        _line(right, curve.x, curve.generalization, "purple", "generalization error")
        for panel in (left, right):
            panel.set_xlabel("learning rate")
            panel.locator_params(axis="x", nbins=6)
            for rise in clues.overfitting:
                panel.axvspan(rise.first, rise.last, color=style.COLOURS["yellow"], alpha=_SHADE)
            if rates.turned:
                label = f"maximum {number(rates.maximum)}"
                panel.axvline(rates.maximum, color=style.FAINT, dashes=(4, 3), label=label)
            if clues.divergence is not None and panel is left:
                at, label = clues.divergence.x, f"diverges at {number(clues.divergence.x)}"
                panel.axvline(at, color=style.INK, linestyle=":", label=label)
            _legend(panel)


def draw_search(
    curves: Mapping[str, Curve],
    path: Path,
    title: str,
    best: str | None,
    trunk: Curve | None = None,
) -> None:
    """Draw the test loss and the test accuracy of each value of a search, over its x.

    curves: by the value's label, in the order of the legend. best: the one drawn thick. trunk: what
    all branch off from, in grey. Raises DataError.
    """
    colours = _colours(len(curves))
    x_names = {c.x_name for c in curves.values()}
    accurate = any(np.isfinite(c.accuracy).any() for c in curves.values())
    with _figure(path, title, 2 if accurate else 1) as panels:
        _limits(panels[0], [c.test_loss for c in curves.values()])
        if accurate:
            accuracies = [100 * c.accuracy for c in curves.values()]
            _limits(panels[1], accuracies, best_is_high=True)
        if trunk is not None:
            for panel, values in zip(panels, (trunk.test_loss, 100 * trunk.accuracy), strict=False):
                panel.plot(trunk.x, values, color=style.FAINT, linewidth=style.LINE, zorder=1)
                panel.plot(trunk.x[-1:], values[-1:], "|", color=style.INK, markersize=9)
        for number_, (label, curve) in enumerate(curves.items()):
            colour, thick = colours[number_], 1.4 if label == best else 1.0
            marker = list(style.MARKERS.values())[number_ % len(style.MARKERS)]
            for panel, values in zip(panels, (curve.test_loss, 100 * curve.accuracy), strict=False):
                finite = np.isfinite(values)
                x, y = curve.x[finite], values[finite]
                gap = max(1, len(x) // 8)
                panel.plot(x, y, color=colour, alpha=0.25, linewidth=style.THIN)
                panel.plot(
                    x,
                    smoothed(y) if len(y) else y,
                    color=colour,
                    linewidth=style.LINE * thick,
                    marker=marker,
                    markersize=3.8,
                    markevery=(min(number_, max(0, len(x) - 1)), gap),
                    label=f"{label} (best)" if label == best else label,
                )
        for panel, label in zip(panels, ("test loss", "test accuracy (%)"), strict=False):
            panel.locator_params(axis="x", nbins=6)
            panel.set_xlabel(" / ".join(sorted(x_names)))
            panel.set_ylabel(label)
        _legend(panels[0])


@contextmanager
def _figure(path: Path, title: str, count: int) -> Iterator[Sequence[Axes]]:
    """Panels beside each other; the picture is written to `path` on leaving. Raises DataError."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings: Any = style.SETTINGS
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(_WIDTH * count, _HEIGHT), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(title, fontsize=style.TITLE)
        panels = list(figure.subplots(1, count, squeeze=False)[0])
        for panel in panels:
            panel.spines[["top", "right"]].set_visible(False)
            panel.grid(axis="y", color=style.RULE, linewidth=0.6)
            panel.set_axisbelow(True)
        yield panels
        try:
            figure.savefig(path, dpi=160)
        except OSError as error:
            raise DataError(f"{path}: cannot be written: {error.strerror}") from error


def _line(
    panel: Axes, x: np.ndarray, y: np.ndarray, colour: str, label: str, dashes: str = "-"
) -> None:
    """A line as measured, thin, and smoothed as the clues are read."""
    finite = np.isfinite(y)
    x, y = x[finite], y[finite]
    if not len(y):
        return
    panel.plot(x, y, color=style.COLOURS[colour], alpha=0.3, linewidth=style.THIN)
    panel.plot(
        x, smoothed(y), dashes, color=style.COLOURS[colour], linewidth=style.LINE, label=label
    )


def _limits(panel: Axes, curves: Sequence[np.ndarray], best_is_high: bool = False) -> None:
    """A range that shows where the curves are at their best.

    What is worse after the first tenth of the tests than nine tenths of the rest leaves the panel:
    a beginning, or a divergence.
    """
    sign = -1 if best_is_high else 1
    late = [values[len(values) // 10 :] for values in curves]
    known = np.concatenate([sign * values[np.isfinite(values)] for values in late] or [np.empty(0)])
    if not len(known):
        return
    low, high = float(known.min()), float(np.percentile(known, 90))
    high = min(float(known.max()), low + 1.5 * (high - low))
    margin = 0.06 * max(high - low, 1e-3)
    panel.set_ylim(*sorted((sign * (low - margin), sign * (high + margin))))


def _legend(panel: Axes) -> None:
    panel.legend(
        frameon=False,
        fontsize=style.LEGEND,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16),
        ncols=2,
    )


def _colours(count: int) -> list[Any]:
    """The report's four; more values, which are in an order, get a scale of colours."""
    if count <= len(style.COLOURS):
        return list(style.COLOURS.values())[:count]
    import matplotlib

    return list(matplotlib.colormaps["viridis"](np.linspace(0, 0.9, count)))
