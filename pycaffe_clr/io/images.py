"""Images as pycaffe has them: (H, W, K) float32 from 0 to 1, colours red, green, blue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from pycaffe_clr.errors import DataError

# (height, width)
Dims = Sequence[int] | np.ndarray

# skimage's weights of red, green and blue in a gray value.
_LUMA = np.array([0.2125, 0.7154, 0.0721], np.float32)


def load_image(filename: str | Path | IO[bytes], color: bool = True) -> np.ndarray:
    """The image in a file: float32 from 0 to 1, (H, W, 3) in red, green, blue, or (H, W, 1) gray.

    Gray files become three equal channels with color, colours their luminance without; an alpha
    channel is dropped. Raises DataError where the file cannot be read or decoded.
    """
    from PIL import Image

    try:
        with Image.open(filename) as picture:
            pixels = _pixels(picture)
    except Exception as error:  # Pillow raises many kinds, bombs included
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{filename}: cannot read the image: {reason}") from error
    if pixels.shape[2] in (2, 4):
        pixels = pixels[:, :, :-1]
    if color and pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    if not color and pixels.shape[2] == 3:
        return np.asarray((pixels @ _LUMA)[:, :, None])
    return pixels


def _pixels(picture: Any) -> np.ndarray:
    """(H, W, K) float32 from 0 to 1."""
    mode = picture.mode
    if mode.startswith("I"):  # 16 bits, which Pillow may hand out as 32
        return np.asarray(picture, np.float32)[:, :, None] / 65535
    if mode == "F":
        return np.asarray(picture, np.float32)[:, :, None]
    if mode not in ("L", "LA", "RGB", "RGBA"):
        gray, alpha = mode == "1", "transparency" in picture.info or mode in ("PA", "RGBa")
        picture = picture.convert("L" if gray else "RGBA" if alpha else "RGB")
    pixels = np.asarray(picture, np.float32) / 255
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def resize_image(im: np.ndarray, new_dims: Dims, interp_order: int = 1) -> np.ndarray:
    """An (H, W, K) image in another height and width: float32.

    interp_order: 1 between the four pixels around a point, 0 the nearest one. Images of 1 and 3
    channels follow skimage's resize without anti-aliasing: pixels are squares, whose outer border
    fades to the image's least value. Others follow scipy's zoom, which keeps the corners' centres
    in the corners. Raises ValueError for other orders and empty sizes.
    """
    height, width = (int(dim) for dim in new_dims)
    if im.ndim != 3 or min(height, width, *im.shape) < 1 or interp_order not in (0, 1):
        raise ValueError(
            f"resize_image takes an (H, W, K) image, a (height, width) and an order of 0 or 1, not "
            f"{im.shape}, {tuple(new_dims)} and {interp_order}"
        )
    squares = im.shape[2] in (1, 3)
    low = im.min()
    if squares and low == im.max():  # also where a difference would overflow
        return np.full((height, width, im.shape[2]), low, np.float32)
    values = np.asarray(im, np.float64)
    if squares:
        values = values - low
    for axis, size in enumerate((height, width)):
        values = _along(values, axis, size, squares, interp_order)
    if squares:
        values = values + low
    return values.astype(np.float32)


def _along(values: np.ndarray, axis: int, size: int, squares: bool, order: int) -> np.ndarray:
    """Interpolate one axis; zeros lie outside."""
    length = values.shape[axis]
    if length == size:
        return values
    if squares:
        at = (np.arange(size) + 0.5) * (length / size) - 0.5
    else:
        at = np.arange(size) * ((length - 1) / max(size - 1, 1))
    # Rounding errors of the coordinates must not reach beyond the last pixel.
    at = np.round(at, 9)
    if order == 0:
        nearest = np.clip(np.floor(at + 0.5).astype(int), 0, length - 1)
        return np.asarray(np.take(values, nearest, axis))
    first = np.floor(at).astype(int)
    share = (at - first).reshape((-1,) + (1,) * (values.ndim - 1 - axis))

    def pixels(index: np.ndarray) -> np.ndarray:
        inside = ((index >= 0) & (index < length)).reshape(share.shape)
        return np.asarray(np.take(values, np.clip(index, 0, length - 1), axis) * inside)

    return np.asarray(pixels(first) * (1 - share) + pixels(first + 1) * share)


def oversample(images: Sequence[np.ndarray], crop_dims: Dims) -> np.ndarray:
    """Ten crops of every image: four corners, centre, and the same five mirrored.

    images: (H, W, K), all of one shape; crop_dims: (height, width). Returns (10 N, height, width,
    K) float32. Raises ValueError for crops that are larger than the images.
    """
    height, width = (int(dim) for dim in crop_dims)
    rows, columns, channels = images[0].shape
    if not (0 < height <= rows and 0 < width <= columns):
        raise ValueError(f"crops of {height}x{width} do not fit into images of {rows}x{columns}")
    corners = [(y, x) for y in (0, rows - height) for x in (0, columns - width)]
    corners.append(((rows - height) // 2, (columns - width) // 2))
    crops = np.empty((len(images), 2, 5, height, width, channels), np.float32)
    for image, ten in zip(images, crops, strict=True):
        for place, (y, x) in enumerate(corners):
            ten[0, place] = image[y : y + height, x : x + width]
        ten[1] = ten[0, :, :, ::-1]
    return crops.reshape(-1, height, width, channels)
