"""Figure 9: weight decay at a constant learning rate, by the 3-layer net's loss and accuracy."""

from __future__ import annotations

import sys

from pycaffe_clr.experiments.figures.command import script
from pycaffe_clr.experiments.figures.panel import Look

LOOKS = {"a": Look(), "b": Look()}

if __name__ == "__main__":
    sys.exit(script(9))
