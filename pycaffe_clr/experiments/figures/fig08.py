"""Figure 8: cyclical momentum with ResNet-56; Figure 6a again, with cyclical momentum."""

from __future__ import annotations

import sys

from pycaffe_clr.experiments.figures import marks
from pycaffe_clr.experiments.figures.command import script
from pycaffe_clr.experiments.figures.panel import Look

LOOKS = {
    "a": Look(mark=marks.iterations((9_000, 18_000), "rate turns", height=0.1)),
    "b": Look(inset=(0.4, 0.13, 0.57, 0.45)),
}

if __name__ == "__main__":
    sys.exit(script(8))
