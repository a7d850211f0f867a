"""What a run shows while it goes on: one live line on a terminal."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, TextIO

from pycaffe_clr.durations import duration


@dataclass
class Status:
    """What the live line tells. nan and None: not known yet."""

    iteration: int
    max_iter: int
    loss: float = math.nan
    lr: float = math.nan
    momentum: float = math.nan
    accuracy: float = math.nan
    images_per_second: float = math.nan
    seconds_left: float = math.nan
    doing: str = ""


def short(value: float) -> str:
    """Three or four significant digits; `-` for nan."""
    return "-" if math.isnan(value) else f"{value:.4g}"


def line(status: Status, width: int) -> str:
    """The live line, cut to the width: what matters least stands last.

    `1234/9277 loss 0.512 lr 0.0823 m 0.85 acc 91.2% 1530 img/s 12 min left`
    """
    accuracy = f"{100 * status.accuracy:.2f}%" if not math.isnan(status.accuracy) else "-"
    rate = status.images_per_second
    parts = [
        f"{status.iteration}/{status.max_iter}",
        f"loss {short(status.loss)}",
        f"lr {short(status.lr)}",
        f"m {short(status.momentum)}",
        f"acc {accuracy}",
        f"{rate:.0f} img/s" if math.isfinite(rate) else "- img/s",
        status.doing or f"{duration(status.seconds_left)} left",
    ]
    text = "  ".join(parts)
    if len(text) > width:
        text = " ".join(parts)
    return text[: max(width, 0)]


class Speed:
    """Iterations per second over the last half minute, tests included."""

    def __init__(self, window: float = 30.0) -> None:
        self._window = window
        self._marks: deque[tuple[float, int]] = deque()

    def note(self, iteration: int, now: float | None = None) -> None:
        """Say that `iteration` is reached (at `now` on the monotonic clock)."""
        now = time.monotonic() if now is None else now
        self._marks.append((now, iteration))
        while len(self._marks) > 2 and now - self._marks[1][0] > self._window:
            self._marks.popleft()

    def per_second(self) -> float:
        """nan before there are two marks."""
        if len(self._marks) < 2:
            return math.nan
        (then, first), (now, last) = self._marks[0], self._marks[-1]
        return (last - first) / (now - then) if now > then else math.nan


class LiveLine:
    """Draws Status on the last line of a terminal, and prints other lines above it.

    console: rich's; by default one on the stream, which is stdout where none is given.
    """

    def __init__(self, console: Any | None = None, stream: TextIO | None = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = console or Console(file=stream, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> LiveLine:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, status: Status) -> None:
        """Redraw the line."""
        from rich.text import Text

        text = Text(line(status, self._console.width - 1), no_wrap=True, overflow="crop")
        self._live.update(text, refresh=True)

    def print(self, text: str) -> None:
        """A line that stays, above the live one."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
