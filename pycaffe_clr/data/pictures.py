"""Pictures as Caffe's records have them: (C, H, W) uint8, blue, green, red, resized as OpenCV does.

Pillow decodes and encodes them.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from pycaffe_clr.data.datum import decode_image
from pycaffe_clr.errors import ConfigError, DataError

In = TypeVar("In")
Out = TypeVar("Out")

_QUALITY = 95  # OpenCV's, of JPEG


def read_bytes(path: Path) -> bytes:
    """A file's bytes. Raises DataError."""
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read: {reason}") from error


def load(path: Path, color: bool | None = True) -> np.ndarray:
    """The picture in a file, (C, H, W) uint8. color: see datum.decode. Raises DataError."""
    return decode_image(read_bytes(path), str(path), color)


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """A (C, H, W) uint8 picture in another size, as OpenCV's linear interpolation makes it but for
    the last bit: from the four pixels around a point, and the nearest ones beyond the border."""
    values = image.astype(np.float32)
    for axis, size in ((1, height), (2, width)):
        length = values.shape[axis]
        if length == size:
            continue
        at = np.clip((np.arange(size) + 0.5) * (length / size) - 0.5, 0, length - 1)
        first = np.floor(at).astype(int)
        shape = (-1, 1) if axis == 1 else (-1,)
        share = (at - first).astype(np.float32).reshape(shape)
        low = np.take(values, first, axis)
        high = np.take(values, np.minimum(first + 1, length - 1), axis)
        values = low + (high - low) * share
    return np.asarray(np.floor(values + 0.5).astype(np.uint8))


def encode(image: np.ndarray, kind: str) -> bytes:
    """A (C, H, W) uint8 picture, gray or blue, green, red, as a file of that kind: "jpg", "png".

    Raises ConfigError for a kind that Pillow does not write.
    """
    from PIL import Image

    pixels = image[0] if len(image) == 1 else image[::-1].transpose(1, 2, 0)
    name = Image.registered_extensions().get(f".{kind.lower()}", "")
    if name not in Image.SAVE:
        raise ConfigError(f"pictures cannot be written as '{kind}'; try jpg or png")
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, name, quality=_QUALITY)
    return file.getvalue()


def in_threads(function: Callable[[In], Out], items: Iterable[In], threads: int) -> Iterator[Out]:
    """What function makes of each item, in their order, by that many threads a little ahead.

    What it raises comes out where its result would.
    """
    waiting: deque[Future[Out]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="pictures") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 4 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
