"""Figure 4: overfitting: a test loss that rises, on Cifar-10 and ImageNet."""

from __future__ import annotations

import sys

from pycaffe_clr.experiments.figures import marks
from pycaffe_clr.experiments.figures.command import script
from pycaffe_clr.experiments.figures.panel import Look

LOOKS = {
    "a": Look(mark=marks.rates((0.002, "0.002"), (0.005, "0.005"), (0.008, "0.008"))),
    "b": Look(),
}

if __name__ == "__main__":
    sys.exit(script(4))
