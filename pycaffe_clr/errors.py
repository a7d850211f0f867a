"""The exceptions of this package: one family, so that one `except` can catch everything expected.

A message says who speaks, where (file:line:column, layer, record), what was expected, what came
and what to try. The core throws the same three kinds (csrc/core/check.h).
"""

from collections.abc import Iterable
from itertools import islice


class PycaffeClrError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(PycaffeClrError):
    """A prototxt, a setting or a command line asks for something impossible."""


class DataError(PycaffeClrError):
    """A file, database, record or set of weights is missing, broken or does not fit."""


class EngineError(PycaffeClrError):
    """The engine could not do its work: a device, a library or a bug in this package."""


def shape_text(shape: Iterable[int]) -> str:
    """A shape in a message: `3x32x32`; no more than eight axes, for files may claim any number."""
    return "x".join(str(size) for size in islice(shape, 8)) or "()"
