"""Figure 1: a range test of ResNet-56: what the test loss tells that the accuracy does not."""

from __future__ import annotations

import sys

from pycaffe_clr.experiments.figures import marks
from pycaffe_clr.experiments.figures.command import script
from pycaffe_clr.experiments.figures.panel import Look

_OVERFITTING = marks.box(0.01, 0.04, "0.01 to 0.04")

LOOKS = {"a": Look(mark=_OVERFITTING), "b": Look(mark=_OVERFITTING)}

if __name__ == "__main__":
    sys.exit(script(1))
