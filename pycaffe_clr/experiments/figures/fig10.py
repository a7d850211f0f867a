"""Figure 10: weight decay with cyclical rate and momentum, 3-layer net."""

from __future__ import annotations

import sys

from pycaffe_clr.experiments.figures import marks
from pycaffe_clr.experiments.figures.command import script
from pycaffe_clr.experiments.figures.panel import Look

LOOKS = {"a": Look(), "b": Look(mark=marks.rates((0.005, "0.005")))}

if __name__ == "__main__":
    sys.exit(script(10))
