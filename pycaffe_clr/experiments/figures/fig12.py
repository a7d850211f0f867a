"""Figure 12: weight decay from a snapshot on: one run to a plateau, then branches."""

from __future__ import annotations

import sys

from pycaffe_clr.experiments.figures.command import script
from pycaffe_clr.experiments.figures.panel import Look

LOOKS = {"a": Look(), "b": Look()}

if __name__ == "__main__":
    sys.exit(script(12))
