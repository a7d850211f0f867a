"""Figure 13: searches for the wide resnet and the densenet."""

from __future__ import annotations

import sys

from pycaffe_clr.experiments.figures.command import script
from pycaffe_clr.experiments.figures.panel import Look

LOOKS = {"a": Look(), "b": Look(), "c": Look(), "d": Look()}

if __name__ == "__main__":
    sys.exit(script(13))
