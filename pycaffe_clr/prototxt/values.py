"""Single values of prototxt text: numbers and the escapes of strings."""

from __future__ import annotations

import math
import re


def parse_float(text: str) -> float | None:
    """A word or number as float, or None if it is none."""
    lowered = text.lower()
    if lowered in ("inf", "infinity"):
        return math.inf
    if lowered == "nan":
        return math.nan
    if lowered[0] == "0" and len(text) > 1 and lowered[1] in "x01234567":
        return None  # hexadecimal and octal are for whole numbers
    try:
        return float(text[:-1] if lowered.endswith("f") else text)
    except ValueError:
        return None


def parse_integer(text: str) -> int | None:
    """A decimal, hexadecimal (0x) or octal (0) whole number, or None if it is none."""
    try:
        if text[:2].lower() == "0x":
            return int(text, 16)
        if text[0] == "0" and len(text) > 1:
            return int(text, 8)
        # The length guard keeps Python's limit on digits, and its cost, out of the way.
        return int(text) if len(text) < 30 else None
    except ValueError:
        return None


_SIMPLE_ESCAPES = {
    "n": b"\n", "r": b"\r", "t": b"\t", "a": b"\a", "b": b"\b", "f": b"\f", "v": b"\v",
    "\\": b"\\", "'": b"'", '"': b'"', "?": b"?",
}  # fmt: skip
_ESCAPE = re.compile(
    r"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.?))",
    re.DOTALL,
)


def unescape(text: str) -> bytes:
    """C's escapes resolved, as bytes; raises ValueError for one that C does not have."""
    pieces = []
    done = 0
    for match in _ESCAPE.finditer(text):
        pieces.append(text[done : match.start()].encode())
        done = match.end()
        octal, hexadecimal, short, long, simple = match.groups()
        if octal is not None:
            pieces.append(bytes([int(octal, 8) & 255]))
        elif hexadecimal is not None:
            pieces.append(bytes([int(hexadecimal, 16)]))
        elif short is not None or long is not None:
            pieces.append(chr(int(short or long, 16)).encode())
        elif simple in _SIMPLE_ESCAPES:
            pieces.append(_SIMPLE_ESCAPES[simple])
        else:
            raise ValueError(f"unknown escape {match[0]!r} in a string")
    pieces.append(text[done:].encode())
    return b"".join(pieces)
