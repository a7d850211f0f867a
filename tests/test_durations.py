"""Durations as people write and read them."""

import math

import pytest

from pycaffe_clr.durations import duration, parse_duration
from pycaffe_clr.errors import ConfigError


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (46.4, "46 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (7200, "2.0 h"),
        (10140, "2.8 h"),
        (35999, "10 h"),
        (300_000, "3.5 d"),
        (1e9, "11,574 d"),
        (math.nan, "-"),
        (math.inf, "-"),
        (-1, "-"),
    ],
)
def test_a_duration_has_few_digits_and_a_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text
    assert duration(seconds, unknown="") == ("" if text == "-" else text)


def test_durations_are_read() -> None:
    assert [parse_duration(t) for t in ("90m", "1h30m", "45s", "2d", "5")] == [
        5400, 5400, 45, 172800, 300,
    ]  # fmt: skip
    for text in ("", "soon", "5x", "1h 2m"):
        with pytest.raises(ConfigError, match="is no duration; expected e.g. 90m"):
            parse_duration(text)
