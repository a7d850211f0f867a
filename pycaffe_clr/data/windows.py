"""Records of WindowData layers: windows of pictures, cut out and warped to one size, as R-CNN was
trained on them. Source: Caffe's window_data_layer.cpp."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pycaffe_clr.data import pictures
from pycaffe_clr.data.sources import decoders
from pycaffe_clr.data.stream import Counted
from pycaffe_clr.errors import DataError


class Window(NamedTuple):
    """A window of a picture, its ends included; label 0: background."""

    picture: Path
    label: int
    overlap: float
    box: tuple[int, int, int, int]  # x1, y1, x2, y2


@dataclass(frozen=True)
class Sampling:
    """window_data_param and transform_param: a batch holds fg_fraction of windows that overlap an
    object by fg_threshold or more, and the rest of such that overlap less than bg_threshold; each
    is warped to crop_size, context_pad pixels of its surroundings included. mean: one picture or
    one number per channel, or None."""

    crop_size: int
    mirror: bool = False
    scale: float = 1
    mean: np.ndarray | None = None
    fg_threshold: float = 0.5
    bg_threshold: float = 0.5
    fg_fraction: float = 0.25
    context_pad: int = 0
    square: bool = False
    cache: bool = False


def read_windows(path: Path, root: str) -> list[Window]:
    """The windows of a window file. Raises DataError, with the line."""
    try:
        lines = path.read_text(errors="surrogateescape").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from error
    numbered = [(n, line.strip()) for n, line in enumerate(lines, 1) if line.strip()]
    windows: list[Window] = []
    at = 0

    def take(what: str) -> tuple[int, str]:
        nonlocal at
        if at == len(numbered):
            raise DataError(f"{path}: ends where {what} should stand")
        at += 1
        return numbered[at - 1]

    while at < len(numbered):
        number, line = take("a picture")
        if not line.startswith("#"):
            raise DataError(
                f"{path}:{number}: expected `# number of the picture`, came {line!r:.60}"
            )
        picture = Path(root + take("the picture's path")[1])
        for what in ("its channels", "its height", "its width"):
            take(what)
        number, line = take("its number of windows")
        if not line.isdecimal():
            raise DataError(f"{path}:{number}: expected the number of windows, came {line!r:.60}")
        for _ in range(int(line)):
            number, line = take("a window")
            try:
                label, overlap, *box = line.split()
                x1, y1, x2, y2 = (int(side) for side in box)
                windows.append(Window(picture, int(label), float(overlap), (x1, y1, x2, y2)))
            except ValueError:
                raise DataError(
                    f"{path}:{number}: expected `label overlap x1 y1 x2 y2`, came {line!r:.60}"
                ) from None
            if x2 < x1 or y2 < y1 or windows[-1].label < 0:
                raise DataError(f"{path}:{number}: no window: {line!r:.60}")
    return windows


class WindowRecords(Counted):
    """Random windows, batch by batch, the next one made ahead by the threads that decode. names: of
    the fields that hold windows and labels."""

    def __init__(
        self, name: str, windows: Sequence[Window], how: Sampling, names: Sequence[str], seed: int
    ) -> None:
        size = how.crop_size
        self.fields: dict[str, tuple[int, ...]] = {names[0]: (3, size, size), names[1]: ()}
        self._names = tuple(names)
        self._how = how
        self._seed = seed
        self._ahead: tuple[tuple[int, int], Future[dict[str, np.ndarray]]] | None = None
        self._pictures: dict[Path, np.ndarray] = {}
        self._foreground = [w for w in windows if w.overlap >= how.fg_threshold]
        self._background = [w._replace(label=0) for w in windows if w.overlap < how.bg_threshold]
        if any(window.label < 1 for window in self._foreground):
            raise DataError(f"{name}: a window overlaps an object, but its label is 0, background")
        if not self._foreground or not self._background:
            raise DataError(
                f"{name}: has {len(self._foreground)} windows of objects and "
                f"{len(self._background)} of background; a batch needs both"
            )

    def next(self, count: int) -> dict[str, np.ndarray]:
        """Windows (count, 3, crop, crop) float32, background first, and their labels (count,)."""
        wanted, waiting = (self._position, count), self._ahead
        self._ahead = None
        if waiting is not None and waiting[0] == wanted:
            made = waiting[1].result()
        else:
            made = self.read(*wanted)
        self._position += count
        following = (self._position, count)
        self._ahead = following, _reader().submit(self.read, *following)
        return made

    def read(self, position: int, count: int) -> dict[str, np.ndarray]:
        """The batch after so many windows."""
        random = np.random.default_rng((self._seed, position))
        data = np.zeros((count, *self.fields[self._names[0]]), np.float32)
        labels = np.zeros(count, np.float32)
        objects = int(count * np.float32(self._how.fg_fraction))
        tasks = []
        for row in range(count):
            chosen = self._background if row < count - objects else self._foreground
            window = chosen[int(random.integers(len(chosen)))]
            mirror = self._how.mirror and bool(random.integers(2))
            tasks.append(decoders().submit(self._warp, window, mirror, data[row]))
            labels[row] = window.label
        for task in tasks:
            task.result()
        return {self._names[0]: data, self._names[1]: labels}

    def _warp(self, window: Window, mirror: bool, out: np.ndarray) -> None:
        warp(self._picture(window.picture), window.box, self._how, mirror, out)

    def _picture(self, path: Path) -> np.ndarray:
        if path in self._pictures:
            return self._pictures[path]
        image = pictures.load(path, True)
        if self._how.cache:
            self._pictures[path] = image
        return image


@cache
def _reader() -> ThreadPoolExecutor:
    """The thread that makes batches ahead."""
    return ThreadPoolExecutor(1, thread_name_prefix="windows")


def _round(value: float) -> int:
    """To the nearest whole number, halves away from zero, as C's round."""
    return int(np.floor(abs(value) + 0.5) * (1 if value >= 0 else -1))


def warp(
    image: np.ndarray,
    box: tuple[int, int, int, int],
    how: Sampling,
    mirror: bool,
    out: np.ndarray,
) -> None:
    """Cut a window out of a picture (3, H, W), warp it, and write it to out (3, crop, crop), which
    holds zeros."""
    size = how.crop_size
    x1, y1, x2, y2 = box
    left = top = 0
    width = height = size
    rows, columns = image.shape[1:]
    if how.context_pad > 0 or how.square:
        context = size / (size - 2 * how.context_pad)
        half_width, half_height = (x2 - x1 + 1) / 2, (y2 - y1 + 1) / 2
        x, y = x1 + half_width, y1 + half_height
        if how.square:
            half_width = half_height = max(half_width, half_height)
        x1, x2 = _round(x - half_width * context), _round(x + half_width * context)
        y1, y2 = _round(y - half_height * context), _round(y + half_height * context)
        # What lies outside the picture stays empty.
        scale_x, scale_y = size / (x2 - x1 + 1), size / (y2 - y1 + 1)
        beyond = max(0, -x1), max(0, -y1), max(0, x2 - columns + 1), max(0, y2 - rows + 1)
        x1, y1, x2, y2 = x1 + beyond[0], y1 + beyond[1], x2 - beyond[2], y2 - beyond[3]
        width, height = _round((x2 - x1 + 1) * scale_x), _round((y2 - y1 + 1) * scale_y)
        left = _round(beyond[2 if mirror else 0] * scale_x)
        top = _round(beyond[1] * scale_y)
        width, height = min(width, size - left), min(height, size - top)
    if not (0 <= x1 <= x2 < columns and 0 <= y1 <= y2 < rows) or min(width, height) < 1:
        raise DataError(f"a window {box} lies outside its picture of {columns}x{rows}")
    part = pictures.resize(image[:, y1 : y2 + 1, x1 : x2 + 1], height, width).astype(np.float32)
    if mirror:
        part = part[:, :, ::-1]
    place = np.s_[:, top : top + height, left : left + width]
    if how.mean is not None and how.mean.ndim == 3:
        off = (how.mean.shape[2] - size) // 2
        part = part - how.mean[:, off : off + size, off : off + size][place]
    elif how.mean is not None:
        part = part - how.mean[:, None, None]
    out[place] = part * np.float32(how.scale)
