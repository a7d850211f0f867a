"""Figure 7: cyclical momentum with the 3-layer net on Cifar-10."""

from __future__ import annotations

import sys

from pycaffe_clr.experiments.figures import marks
from pycaffe_clr.experiments.figures.command import script
from pycaffe_clr.experiments.figures.panel import Look

LOOKS = {
    "a": Look(mark=marks.rates((0.006, "0.006"), (0.01, "0.01"))),
    "b": Look(),
    "c": Look(),
    "d": Look(mark=marks.iterations((10_000, 15_000, 17_500, 19_000), "rate drops", height=0.55)),
}

if __name__ == "__main__":
    sys.exit(script(7))
