"""Figure 16: ImageNet by the standard policy and by 1cycle."""

from __future__ import annotations

import sys

from pycaffe_clr.experiments.figures.command import script
from pycaffe_clr.experiments.figures.panel import Look

LOOKS = {"a": Look(), "b": Look()}

if __name__ == "__main__":
    sys.exit(script(16))
