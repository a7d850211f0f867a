"""Where this package's own messages go on the command line."""

from __future__ import annotations

import logging
import sys


class _Stderr(logging.Handler):
    """Prints each message once, to what sys.stderr is at that moment."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._seen: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text not in self._seen:
            self._seen.add(text)
            word = "warning: " if record.levelno >= logging.WARNING else ""
            print(f"{word}{text}", file=sys.stderr)


def show_warnings(level: int = logging.WARNING) -> None:
    """Print messages of this package from `level` on to stderr, in place of earlier handlers."""
    logger = logging.getLogger("pycaffe_clr")
    for handler in [h for h in logger.handlers if isinstance(h, _Stderr)]:
        logger.removeHandler(handler)
    logger.addHandler(_Stderr(level))
    logger.propagate = False


def say(text: str) -> None:
    """Print text, as far as stdout can show it: "+-" for ± where it cannot."""
    encoding = sys.stdout.encoding or "ascii"
    if encoding.lower().replace("-", "") != "utf8":
        text = text.replace("±", "+-").encode(encoding, "replace").decode(encoding)
    print(text)
