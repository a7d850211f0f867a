"""Figure 11: weight decay of ResNet-56 at a constant learning rate and in a range test."""

from __future__ import annotations

import sys

from pycaffe_clr.experiments.figures import marks
from pycaffe_clr.experiments.figures.command import script
from pycaffe_clr.experiments.figures.panel import Look

LOOKS = {"a": Look(), "b": Look(mark=marks.rates((0.5, "0.5"), (0.8, "0.8")))}

if __name__ == "__main__":
    sys.exit(script(11))
