"""Datum records: Caffe's protobuf message for one image and its label.

`decode` reads any Datum through protobuf. `Layout` reads the many that share one byte layout
without it: the first record of a kind is parsed, and every other record whose bytes agree with it
everywhere except in pixels and label value must then parse the same way.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from pycaffe_clr import proto
from pycaffe_clr.errors import DataError, shape_text
from pycaffe_clr.proto.varint import decode_varint, encode_varint

_VARINT, _BYTES = 0, 2
_CHANNELS, _HEIGHT, _WIDTH, _DATA, _LABEL, _ENCODED = 1, 2, 3, 4, 5, 7
# Longer label varints (negative or overlong) go through protobuf.
_MAX_LABEL_BYTES = 4


@dataclass(frozen=True)
class Record:
    """One decoded record: image (C, H, W), uint8 or float32, and its label.

    encoded: whether the image was compressed.
    """

    image: np.ndarray
    label: int
    encoded: bool = False


def encode(image: np.ndarray, label: int | None) -> bytes:
    """The bytes of a raw Datum, as Caffe's converters write them.

    image: (C, H, W), uint8 (field `data`) or float32 (field `float_data`). label: None for none.
    """
    channels, height, width = image.shape
    if image.dtype == np.uint8:
        tail = b"" if label is None else raw_label(label)
        return raw_prefix(image.shape) + image.tobytes() + tail
    datum = proto.Datum(channels=channels, height=height, width=width, label=label)
    datum.float_data.extend(image.astype(np.float32).ravel().tolist())
    return bytes(datum.SerializeToString())


def raw_prefix(shape: tuple[int, ...]) -> bytes:
    """What stands before the pixels of a raw uint8 Datum of this (C, H, W)."""
    channels, height, width = map(encode_varint, shape)
    size = encode_varint(math.prod(shape))
    return b"\x08" + channels + b"\x10" + height + b"\x18" + width + b"\x22" + size


def raw_label(label: int) -> bytes:
    """What stands after the pixels of a raw uint8 Datum."""
    return b"\x28" + encode_varint(label)


def decode(data: bytes, where: str, color: bool | None = None) -> Record:
    """Read any Datum: raw bytes, floats, or an encoded JPEG or PNG.

    color: for encoded images, True forces three channels (BGR, as OpenCV has them), False one,
    None keeps the file's own. `where` opens the message of the DataError raised for a broken one.
    Source: data_transformer.cpp and io.cpp of Caffe.
    """
    datum = proto.Datum()
    try:
        datum.ParseFromString(data)
    except DecodeError as error:
        raise DataError(f"{where}: not a Datum: {len(data)} bytes that protobuf rejects") from error
    if datum.encoded:
        return Record(decode_image(datum.data, where, color), datum.label, encoded=True)
    shape = (datum.channels, datum.height, datum.width)
    size = shape[0] * shape[1] * shape[2]
    if min(shape) < 1:
        raise DataError(f"{where}: Datum has an empty shape {shape_text(shape)} (C x H x W)")
    if datum.data:
        image, held = np.frombuffer(datum.data, np.uint8), len(datum.data)
    else:
        image, held = np.array(datum.float_data, np.float32), len(datum.float_data)
    if held != size:
        raise DataError(
            f"{where}: Datum of {shape_text(shape)} (C x H x W) needs {size} values, "
            f"it holds {held}"
        )
    return Record(image.reshape(shape), datum.label)


def decode_image(data: bytes, where: str, color: bool | None) -> np.ndarray:
    """An encoded image as uint8 (C, H, W), colours in OpenCV's order: blue, green, red."""
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(
            f"{where}: the Datum holds a compressed image; reading those needs Pillow: "
            "pip install Pillow"
        ) from error
    try:
        with Image.open(io.BytesIO(data)) as picture:
            pixels = np.asarray(picture.convert(_mode(picture, color)))
    except Exception as error:  # Pillow raises many kinds, bombs included
        raise DataError(f"{where}: cannot decode the compressed image: {error}") from error
    if pixels.ndim == 2:
        return pixels[None]
    blue_first = [2, 1, 0, 3][: pixels.shape[2]]
    return np.ascontiguousarray(pixels[:, :, blue_first].transpose(2, 0, 1))


def _mode(picture: Any, color: bool | None) -> str:
    if color is not None:
        return "RGB" if color else "L"
    if picture.mode in ("1", "L"):
        return "L"
    if picture.mode.startswith(("I", "F")):
        raise ValueError("pixels of more than 8 bits, which Caffe does not read")
    return "RGBA" if picture.mode in ("RGBA", "LA", "PA") else "RGB"


@dataclass(frozen=True)
class Layout:
    """Where pixels and label stand in the raw uint8 records that agree with `sample`.

    label_size 0 means that the record has no label; Caffe reads 0 then.
    """

    sample: np.ndarray
    shape: tuple[int, int, int]
    data_at: int
    data_size: int
    label_at: int
    label_size: int

    @staticmethod
    def of(data: bytes) -> Layout | None:
        """The layout of a raw record, or None when only protobuf should read it."""
        seen: dict[int, tuple[int, int]] = {}
        values: dict[int, int] = {}
        at = 0
        try:
            while at < len(data):
                tag, at = decode_varint(data, at)
                field, kind = tag >> 3, tag & 7
                if field in seen:
                    return None
                if kind == _VARINT and field in (_CHANNELS, _HEIGHT, _WIDTH, _LABEL, _ENCODED):
                    start = at
                    values[field], at = decode_varint(data, at)
                elif kind == _BYTES and field == _DATA:
                    size, start = decode_varint(data, at)
                    at = start + size
                else:
                    return None
                seen[field] = (start, at - start)
        except ValueError:
            return None
        return Layout._checked(data, seen, values) if at == len(data) else None

    @staticmethod
    def _checked(
        data: bytes, seen: dict[int, tuple[int, int]], values: dict[int, int]
    ) -> Layout | None:
        shape = (values.get(_CHANNELS, 0), values.get(_HEIGHT, 0), values.get(_WIDTH, 0))
        data_at, data_size = seen.get(_DATA, (0, 0))
        label_at, label_size = seen.get(_LABEL, (0, 0))
        if not data_size or data_size != shape[0] * shape[1] * shape[2] or max(shape) >= 1 << 31:
            return None
        if values.get(_ENCODED, 0) or label_size > _MAX_LABEL_BYTES:
            return None
        sample = np.frombuffer(data, np.uint8)
        return Layout(sample, shape, data_at, data_size, label_at, label_size)

    def fixed_parts(self) -> list[tuple[int, int]]:
        """Byte ranges outside of the pixels: [0, data) and [data end, record end)."""
        return [(0, self.data_at), (self.data_at + self.data_size, len(self.sample))]

    def agrees(self, start: int, part: np.ndarray) -> np.ndarray:
        """Which rows of `part`, bytes from offset `start` on of many records, fit the sample.

        Of the label's bytes only the continuation bits must agree.
        """
        mask = np.full(part.shape[1], 0xFF, np.uint8)
        low = max(self.label_at - start, 0)
        high = max(self.label_at + self.label_size - start, 0)
        mask[low:high] = 0x80
        sample = self.sample[start : start + part.shape[1]]
        return np.asarray(((part ^ sample) & mask == 0).all(axis=1))

    def labels(self, rows: np.ndarray) -> np.ndarray:
        """int32 labels of (n, label_size) label bytes."""
        values = np.zeros(len(rows), np.int32)
        for i in range(self.label_size):
            values |= (rows[:, i] & 0x7F).astype(np.int32) << (7 * i)
        return values
