"""Figure 15: weight decay and total batch size of ResNet-56 on Cifar-100."""

from __future__ import annotations

import sys

from pycaffe_clr.experiments.figures.command import script
from pycaffe_clr.experiments.figures.panel import Look

LOOKS = {"a": Look(), "b": Look()}

if __name__ == "__main__":
    sys.exit(script(15))
