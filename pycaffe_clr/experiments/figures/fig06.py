"""Figure 6: batch sizes at equal computing time; accuracy with a blow-up of the end, and loss."""

from __future__ import annotations

import sys

from pycaffe_clr.experiments.figures.command import script
from pycaffe_clr.experiments.figures.panel import Look

LOOKS = {"a": Look(inset=(0.4, 0.13, 0.57, 0.45)), "b": Look()}

if __name__ == "__main__":
    sys.exit(script(6))
