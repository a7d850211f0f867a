"""Durations as people read and write them."""

from __future__ import annotations

import math
import re

from pycaffe_clr.errors import ConfigError

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration(seconds: float, unknown: str = "-") -> str:
    """Two or three digits and a unit: `45 s`, `12 min`, `3.4 h`, `12 d`.

    unknown: what is said of what is not finite or below 0.
    """
    if not math.isfinite(seconds) or seconds < 0:
        return unknown
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            count = seconds / size
            whole = unit == "min" or count >= 9.95
            return f"{count:,.0f} {unit}" if whole else f"{count:.1f} {unit}"
    return f"{seconds:.0f} s"


def parse_duration(text: str) -> float:
    """Seconds of `90m`, `1h30m`, `45s`, `2d`; a bare number is minutes. Raises ConfigError."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return 60 * float(text)
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ConfigError(f"{text!r} is no duration; expected e.g. 90m, 1h30m, 45s, 2d")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
