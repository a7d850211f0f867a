"""Words in figures: their width, wrapping, legend entries and numbers on axes."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pycaffe_clr.experiments.figures.curves import Drawn

if TYPE_CHECKING:
    from matplotlib.axis import Axis

_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def count(number: int) -> str:
    """`two`, `12`: small numbers in words."""
    return _COUNTS[number] if number < len(_COUNTS) else f"{number:,}"


@lru_cache(maxsize=4096)
def width(text: str, size: float, bold: bool = False) -> float:
    """Width of a line of text, in inches, at a size in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    prop = FontProperties(family="DejaVu Sans", size=size, weight="bold" if bold else "normal")
    wide, _, _ = text_to_path.get_text_width_height_descent(text, prop, ismath=False)
    return float(wide) / 72


def wrap(text: str, size: float, inches: float, bold: bool = False) -> list[str]:
    """Break text at spaces into lines no wider than `inches`."""
    lines: list[str] = []
    for word in text.split():
        candidate = f"{lines[-1]} {word}" if lines else word
        if lines and width(candidate, size, bold) <= inches:
            lines[-1] = candidate
        else:
            lines.append(word)
    return lines


def legend_label(drawn: Drawn, right: bool = False) -> str:
    """What the legend says of a curve: its name, n if below four, and what to beware of."""
    label = typeset(drawn.curve.label)
    notes = ["right axis"] if right and "accuracy" not in label else []
    if drawn.missing:
        notes.append("not run yet")
    else:
        if drawn.n < 4:
            notes.append(f"n = {drawn.n}")
        if drawn.unfinished is not None:
            made, asked = drawn.unfinished
            notes.append(f"at {made:,} of {asked:,}")
        if drawn.diverged:
            every = len(drawn.diverged) == drawn.n
            notes.append("diverges" if every else f"{count(len(drawn.diverged))} diverged")
    return f"{label} ({', '.join(notes)})" if notes else label


def typeset(label: str) -> str:
    """Numbers as they are printed: `1e-4` as 10 to a power, ranges with a dash."""
    found = re.sub(r"\b(\d(?:\.\d+)?)e-(\d+)\b", _power, label)
    found = re.sub(r"(?<=\d)-(?=\d)", "\N{EN DASH}", found)
    return found.replace("+-", "\N{PLUS-MINUS SIGN}")


def _power(match: re.Match[str]) -> str:
    digits = "\N{SUPERSCRIPT MINUS}" + match[2].lstrip("0").translate(_SUPERSCRIPTS)
    return f"10{digits}" if match[1] == "1" else f"{match[1]}\N{MULTIPLICATION SIGN}10{digits}"


def iteration_ticks(axis: Axis, last: float) -> str:
    """Set up ticks of an axis of iterations up to `last`; returns what its label must add."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    if last >= 100_000:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:,.0f}"))
        return " (thousands)"
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    return ""


def number_ticks(axis: Axis) -> None:
    """About five round ticks, all with the same number of digits."""
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    formatter = ScalarFormatter(useOffset=False)
    formatter.set_scientific(False)
    axis.set_major_formatter(formatter)


def thin_ticks(axis: Axis, count: int) -> None:
    """About so many ticks in place of those that the axis has."""
    locator: Any = axis.get_major_locator()
    locator.set_params(nbins=count)
