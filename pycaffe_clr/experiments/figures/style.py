"""How the figures look: the report's four colours, made safe for colour-blind readers, and type.

Every curve has a marker of its own beside its colour, so that the lines differ in black and white
as well. INK, PAPER and RULE are what a page in dark colours replaces.
"""

from __future__ import annotations

from typing import Any

# The report's names. Simulated for deutan, protan and tritan readers, the closest two are 16
# apart in CIE L*a*b* (2 are just told apart).
COLOURS = {"blue": "#0b55a8", "red": "#cf2f2a", "yellow": "#e0a200", "purple": "#b26ed0"}
# The same on dark paper.
DARK = {"blue": "#3f8ce8", "red": "#f0605a", "yellow": "#f5c542", "purple": "#ddb2f2"}
MARKERS = {"blue": "o", "red": "s", "yellow": "^", "purple": "D"}
INK, PAPER, RULE, FAINT = "#1a1a1b", "#fffffe", "#e2e2e3", "#75757a"
DARK_TONES = {INK: "#e8e8ea", PAPER: "#16181d", RULE: "#34373f", FAINT: "#9a9aa2"}

# Points. A panel is 3.5 inches wide, a column of a journal, where these are drawn at full size.
TITLE, LABEL, TICK, LEGEND, CAPTION = 8.5, 8.0, 7.5, 7.2, 8.0
LINE, THIN = 1.7, 0.8
BAND = 0.2

SETTINGS: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: equal pictures everywhere
    "font.size": LABEL,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": TICK,
    "ytick.labelsize": TICK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "path.simplify": False,
    "pdf.fonttype": 42,  # whole fonts: text in a PDF can be searched and edited
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "pycaffe_clr",  # equal figures give equal files
}


def colour_name(named: str | None, position: int) -> str:
    """The report's colour, or, where it names none, the one of this position in its order."""
    for name in COLOURS:
        if named is not None and name in named:
            return name
    return list(COLOURS)[position % len(COLOURS)]
