"""Mean images: reading, computing and writing Caffe's mean.binaryproto."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError

from pycaffe_clr import proto
from pycaffe_clr.atomic import write_atomically
from pycaffe_clr.data import writer
from pycaffe_clr.data.resolve import make_command
from pycaffe_clr.data.sources import Source
from pycaffe_clr.errors import DataError, shape_text
from pycaffe_clr.proto.varint import encode_varint

_CHUNK = 4096
_CHUNK_BYTES = 1 << 24


def read_mean(path: str | Path, shape: tuple[int, int, int] | None = None) -> np.ndarray:
    """The mean image of a binaryproto file, float32 (C, H, W).

    shape: what the records have; raises DataError when the mean has another, or when the file is
    missing or not a BlobProto of one image.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such mean file. {make_command(path)}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot read the mean file: {error.strerror}") from error
    blob = proto.BlobProto()
    try:
        blob.ParseFromString(data)
    except DecodeError as error:
        raise DataError(f"{path}: not a mean file (a BlobProto): protobuf rejects it") from error
    values = np.array(blob.data or blob.double_data, np.float32)
    mean = values.reshape(_mean_shape(blob, len(values), path))
    if not np.isfinite(mean).all():
        raise DataError(f"{path}: the mean file holds values that are not finite")
    if shape is not None and mean.shape != tuple(shape):
        raise DataError(
            f"{path}: the mean is {shape_text(mean.shape)} (C x H x W), the records are "
            f"{shape_text(shape)}; is it the mean of another set?"
        )
    return mean


def _mean_shape(blob: proto.BlobProto, count: int, path: Path) -> tuple[int, ...]:
    """(C, H, W) from the old num, channels, height, width or the new shape."""
    if blob.HasField("shape"):
        dims = tuple(blob.shape.dim)
        dims = (1,) * (4 - len(dims)) + dims
    else:
        dims = (blob.num, blob.channels, blob.height, blob.width)
    size = 1
    for dim in dims:
        size *= dim
    if len(dims) != 4 or dims[0] != 1 or min(dims) < 1 or size != count:
        raise DataError(
            f"{path}: expected the mean of one image (1xCxHxW); the file says "
            f"{shape_text(dims)} and holds {count} values"
        )
    return dims[1:]


def mean_image(images: np.ndarray) -> np.ndarray:
    """The mean over (N, C, H, W) uint8 images, float32 (C, H, W); see mean_of_source."""
    return _mean_of(images[first : first + _CHUNK] for first in range(0, len(images), _CHUNK))


def mean_of_source(source: Source) -> np.ndarray:
    """The mean over all records of a database, float32 (C, H, W).

    Pixels are summed exactly, then divided in float32. compute_image_mean sums in float32, which is
    the same up to 65,000 images. Records of floats are summed in float64.
    """
    step = max(1, _CHUNK_BYTES // int(np.prod(source.shape)))
    return _mean_of(
        source.read(first, min(step, len(source) - first))[0]
        for first in range(0, len(source), step)
    )


def _mean_of(chunks: Iterable[np.ndarray]) -> np.ndarray:
    total: np.ndarray | None = None
    count = 0
    for images in chunks:
        pixels = images.dtype == np.uint8
        part = images.sum(axis=0, dtype=np.uint64 if pixels else np.float64)
        total = part if total is None else total + part
        count += len(images)
    if total is None:
        raise DataError("there are no images to take the mean of")
    return np.asarray(total.astype(np.float32) / np.float32(count))


def encode_mean(mean: np.ndarray) -> bytes:
    """The bytes of a BlobProto with num=1 and the dimensions of `mean` (C, H, W)."""
    values = np.ascontiguousarray(mean, "<f4").tobytes()
    channels, height, width = map(encode_varint, mean.shape)
    head = b"\x08\x01\x10" + channels + b"\x18" + height + b"\x20" + width
    return head + b"\x2a" + encode_varint(len(values)) + values


def write_mean(path: Path, mean: np.ndarray, force: bool = False) -> None:
    """Write a mean file; DataError when it exists (unless `force`) or the disk is full."""
    writer.check_free([path], force)
    write_atomically(path, [encode_mean(mean)])
