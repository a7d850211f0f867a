"""curve.png: loss, test accuracy, learning rate and momentum of a run over its iterations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pycaffe_clr.errors import DataError
from pycaffe_clr.train.result import is_accuracy, is_loss
from pycaffe_clr.train.tables import read_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Table = Mapping[str, np.ndarray]

# Okabe and Ito's palette, which colour-blind readers can tell apart.
_BLUE, _ORANGE, _GREEN, _RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
_MAX_POINTS = 4000


@dataclass(frozen=True)
class Captions:
    """What the picture says in words. title: what was trained; subtitle: how. epoch: iterations of
    one, for a second axis; 0: not known. whole: the result on the whole test set, as a fraction."""

    title: str
    subtitle: str = ""
    epoch: float = 0.0
    whole: float | None = None


def draw_curve(metrics: Path, tests: Path | None, out: Path, captions: Captions) -> None:
    """Draw the picture from a run's tables. Raises DataError if there is nothing to draw."""
    table = read_table(metrics)
    if not len(table["iteration"]):
        raise DataError(f"{metrics}: no iteration to draw")
    results = read_table(tests) if tests is not None and tests.is_file() else {}
    figure = _draw(table, results, captions)
    try:
        figure.savefig(out, dpi=130)
    except OSError as error:
        raise DataError(f"{out}: cannot be written: {error.strerror}") from error


def accuracy_columns(tests: Table) -> list[str]:
    """The outputs of test nets that are accuracies, by their names."""
    return [name for name in tests if is_accuracy(name)]


def _smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Running mean over `window` values, centred; the ends average over what is there."""
    window = max(1, min(window, len(values)))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    center = np.arange(len(values))
    low = np.maximum(center - window // 2, 0)
    high = np.minimum(center + (window + 1) // 2, len(values))
    smooth: np.ndarray = (sums[high] - sums[low]) / (high - low)
    return smooth


def _draw(metrics: Table, tests: Table, captions: Captions) -> Figure:
    # Without pyplot, which would look for a display and keep every figure.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 8), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(captions.title)
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=[3, 3, 2])
    _draw_loss(top, metrics, tests)
    _draw_accuracy(middle, tests, captions.whole)
    _draw_rates(bottom, metrics)
    for panel in (top, middle, bottom):
        panel.grid(color="0.9", linewidth=0.8)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    bottom.set_xlabel("iteration")
    if captions.subtitle:
        top.set_title(captions.subtitle, fontsize="small", color="0.35", pad=8)
    if captions.epoch > 0:
        _add_epochs(top, captions.epoch)
    figure.align_ylabels([top, middle, bottom])
    return figure


def _add_epochs(panel: Axes, epoch: float) -> None:
    """A second axis above the panel, in epochs of so many iterations."""

    def epochs(iterations: Any) -> Any:
        return iterations / epoch

    def iterations(epochs: Any) -> Any:
        return epochs * epoch

    axis = panel.secondary_xaxis("top", functions=(epochs, iterations))
    axis.set_xlabel("epoch")
    axis.spines[["top"]].set_color("0.8")
    axis.tick_params(color="0.8")


def _thin(count: int) -> slice:
    return slice(None, None, max(1, count // _MAX_POINTS))


def _draw_loss(panel: Axes, metrics: Table, tests: Table) -> None:
    iterations, loss = metrics["iteration"], metrics["loss"]
    thin = _thin(len(loss))
    panel.plot(iterations[thin], loss[thin], color=_BLUE, alpha=0.25, linewidth=0.8)
    smooth = _smooth(loss, max(1, len(loss) // 60))
    panel.plot(iterations[thin], smooth[thin], color=_BLUE, linewidth=1.8, label="train")
    name = next(filter(is_loss, tests), None)
    values = loss
    if name is not None and len(tests["iteration"]):
        for net in np.unique(tests["net"]):
            rows = tests["net"] == net
            label = "test" if net == 0 else None
            at, lost = tests["iteration"][rows], tests[name][rows]
            panel.plot(at, lost, "o-", color=_ORANGE, markersize=4, linewidth=1.2, label=label)
        values = np.concatenate([smooth, tests[name]])
    positive = values[np.isfinite(values) & (values > 0)]
    if len(positive) and positive.max() > 30 * positive.min():
        panel.set_yscale("log")
    panel.set_ylabel("loss")
    panel.legend(frameon=False)


def _draw_accuracy(panel: Axes, tests: Table, whole: float | None) -> None:
    panel.set_ylabel("test accuracy (%)")
    columns = accuracy_columns(tests)
    if not columns or not len(tests["iteration"]):
        text = "no test accuracy was logged"
        panel.text(0.5, 0.5, text, ha="center", color="0.4", transform=panel.transAxes)
        panel.set_yticks([])
        return
    lines = [(net, column) for net in np.unique(tests["net"]) for column in columns]
    colors = (_GREEN, _RED, _BLUE, _ORANGE)
    for (net, column), color in zip(lines, colors, strict=False):
        rows = (tests["net"] == net) & np.isfinite(tests[column])
        at, percent = tests["iteration"][rows], 100 * tests[column][rows]
        if not len(at):
            continue
        label = f"{column}, last {percent[-1]:.2f} %"
        if len(np.unique(tests["net"])) > 1:
            label = f"net {int(net)}: {label}"
        panel.plot(at, percent, "o-", color=color, markersize=4, linewidth=1.5, label=label)
    if whole is not None:
        # Measured once, in the end: a level, not a curve.
        panel.axhline(
            100 * whole, color=_GREEN, linewidth=1, linestyle=":",
            label=f"whole test set in the end, {100 * whole:.2f} %",
        )  # fmt: skip
    panel.legend(frameon=False, loc="lower right")


def _draw_rates(panel: Axes, metrics: Table) -> None:
    thin = _thin(len(metrics["iteration"]))
    iterations = metrics["iteration"][thin]
    panel.plot(iterations, metrics["lr"][thin], color=_BLUE, linewidth=1.8)
    panel.set_ylabel("learning rate", color=_BLUE)
    panel.set_ylim(bottom=0)
    other = panel.twinx()
    # Dashed as well: the two lines differ without colours, too.
    other.plot(iterations, metrics["momentum"][thin], color=_RED, linewidth=1.8, linestyle="--")
    other.set_ylabel("momentum (dashed)", color=_RED)
    other.spines[["top"]].set_visible(False)
    low, high = float(metrics["momentum"].min()), float(metrics["momentum"].max())
    margin = max(0.02, 0.1 * (high - low))
    other.set_ylim(low - margin, high + margin)
