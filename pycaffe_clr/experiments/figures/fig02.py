"""Figure 2: the trade-off between underfitting and overfitting, a drawing.

Training error falls with the capacity of a model, test error falls and rises again; their
difference is the generalization error. The curves are formulas, no measurements.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from pycaffe_clr.experiments.figures import style
from pycaffe_clr.experiments.figures.command import script
from pycaffe_clr.experiments.figures.panel import Look


def draw(axes: Any) -> None:
    """Test and training error over model complexity, with the best capacity between."""
    capacity = np.linspace(0, 1, 200)
    train = 0.95 * np.exp(-3.2 * capacity) + 0.03
    test = train + 0.03 + 0.62 * capacity**2.2
    best = float(capacity[test.argmin()])
    axes.axvspan(best - 0.07, best + 0.07, color=style.INK, alpha=0.07, linewidth=0)
    axes.plot(capacity, test, color=style.COLOURS["red"], linewidth=style.LINE)
    axes.plot(capacity, train, color=style.COLOURS["blue"], linewidth=style.LINE)
    axes.annotate("", (0.93, test[186]), (0.93, train[186]), arrowprops=_ARROW)
    words = (
        (0.915, 0.26, "generalization\nerror", style.INK, "right", "center"),
        (0.86, 0.74, "test error", style.COLOURS["red"], "right", "center"),
        (0.55, 0.045, "training error", style.COLOURS["blue"], "right", "center"),
        (best, 1.06, "best capacity", style.INK, "center", "top"),
        (0.02, 1.06, "underfitting", style.FAINT, "left", "top"),
        (0.98, 1.06, "overfitting", style.FAINT, "right", "top"),
    )
    for x, y, said, colour, ha, va in words:
        axes.text(x, y, said, color=colour, ha=ha, va=va)
    axes.set(xlim=(0, 1), ylim=(0, 1.08), xticks=[], yticks=[])
    axes.set_xlabel("Model complexity (capacity)")
    axes.set_ylabel("Error")


_ARROW = {"arrowstyle": "<->", "color": style.INK, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
LOOKS = {"a": Look(draw=draw)}

if __name__ == "__main__":
    sys.exit(script(2))
