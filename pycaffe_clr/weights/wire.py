"""Protobuf's wire format, as far as weights need it.

Here the floats of a layer are one slice of the file. Protobuf's Python runtime fills a packed array
element by element: 10 million weights take it 1.5 s to write and this 0.02 s. To read them takes
0.025 s and 0.008 s (protobuf 7.36).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pycaffe_clr.errors import DataError, shape_text
from pycaffe_clr.proto.varint import decode_varint, encode_varint

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

Array = np.ndarray[Any, np.dtype[Any]]

# Field numbers of BlobProto.
_LEGACY_SHAPE = (1, 2, 3, 4)
_DATA, _DIFF, _SHAPE, _DOUBLE_DATA, _DOUBLE_DIFF = 5, 6, 7, 8, 9
_MAX_AXES = 32  # as in Caffe's blob.hpp
_NO_VALUES = np.empty(0, np.float32)


def fields(data: memoryview, what: str) -> Iterator[tuple[int, int, Any]]:
    """(field number, wire type, value) of each field of a message.

    The value is an int for VARINT, else the field's bytes. what: the message, for errors.
    Raises DataError where the bytes are no message.
    """
    position, end = 0, len(data)
    while position < end:
        tag, position = varint(data, position, what)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise DataError(f"{what}: broken at byte {position}: field number 0")
        if kind == VARINT:
            value, position = varint(data, position, what)
            yield number, kind, value
            continue
        if kind == BYTES:
            size, position = varint(data, position, what)
        elif kind == FIXED32:
            size = 4
        elif kind == FIXED64:
            size = 8
        else:
            raise DataError(f"{what}: broken at byte {position}: unknown wire type {kind}")
        if size > end - position:
            raise DataError(
                f"{what}: truncated: a field of {size} bytes starts {end - position} bytes before "
                "the end"
            )
        yield number, kind, data[position : position + size]
        position += size


def varint(data: memoryview, position: int, what: str) -> tuple[int, int]:
    """(value, position after it) of a variable-length unsigned number."""
    try:
        value, position = decode_varint(data, position)
    except ValueError as error:
        raise DataError(f"{what}: {error}") from None
    return value & (2**64 - 1), position


def signed(value: int) -> int:
    """A varint as int64, which is how negative int32 and int64 values travel."""
    return value - 2**64 if value >= 2**63 else value


def expect(kind: int, wanted: int, field: str, what: str) -> None:
    """Raise DataError if a field does not have the wire type its schema gives it."""
    if kind != wanted:
        raise DataError(
            f"{what}: {field} has wire type {kind}, expected {wanted}: a file of another kind, "
            "or a broken one"
        )


def decode_text(data: memoryview) -> str:
    """A string field; bytes that are no UTF-8 are kept as escapes."""
    return bytes(data).decode("utf-8", "backslashreplace")


def decode_blob(data: memoryview, what: str, diff: bool = False) -> Array:
    """The values of a BlobProto (or its gradient) as a float32 array in its own shape.

    Old files give four numbers instead of a shape, and that is the shape here. Raises DataError if
    values and shape do not agree.
    """
    shape: list[int] | None = None
    legacy: dict[int, int] = {}
    pieces: list[Array] = []
    wanted = {_DIFF: "<f4", _DOUBLE_DIFF: "<f8"} if diff else {_DATA: "<f4", _DOUBLE_DATA: "<f8"}
    for number, kind, value in fields(data, what):
        if number in wanted:
            pieces.append(_floats(value, kind, wanted[number], what))
        elif number == _SHAPE:
            expect(kind, BYTES, "shape", what)
            shape = (shape or []) + _dims(value, what)
        elif number in _LEGACY_SHAPE:
            expect(kind, VARINT, "the old shape", what)
            legacy[number] = signed(value)
    values = pieces[0] if len(pieces) == 1 else np.concatenate([_NO_VALUES, *pieces])
    if shape is None:
        shape = [legacy.get(n, 0) for n in _LEGACY_SHAPE] if legacy else [len(values)]
    if len(shape) > _MAX_AXES or any(size < 0 for size in shape):
        raise DataError(f"{what}: impossible shape {shape_text(shape)}")
    if math.prod(shape) != len(values):
        raise DataError(
            f"{what}: holds {len(values)} values, but shape {shape_text(shape)} needs "
            f"{math.prod(shape)}"
        )
    return values.astype(np.float32).reshape(shape)


def _floats(value: Any, kind: int, dtype: str, what: str) -> Array:
    size = np.dtype(dtype).itemsize
    expect(kind, kind if kind == (FIXED32 if size == 4 else FIXED64) else BYTES, "data", what)
    if len(value) % size:
        raise DataError(f"{what}: {len(value)} bytes are no whole number of {size}-byte values")
    return np.frombuffer(value, dtype)


def _dims(data: memoryview, what: str) -> list[int]:
    dims: list[int] = []
    for number, kind, value in fields(data, what):
        if number != 1:
            continue
        if kind == VARINT:
            dims.append(signed(value))
            continue
        expect(kind, BYTES, "shape", what)
        position = 0
        while position < len(value):
            size, position = varint(value, position, what)
            dims.append(signed(size))
            if len(dims) > _MAX_AXES:
                raise DataError(f"{what}: more than {_MAX_AXES} axes")
    return dims


# A message under construction: its bytes in pieces, so that weights are not copied at each level.
Pieces = list[bytes | memoryview]


def encode_bytes(number: int, *data: bytes | memoryview) -> Pieces:
    """A field that holds bytes, a string or a message, given in pieces."""
    size = sum(len(piece) for piece in data)
    return [encode_varint(number << 3 | BYTES) + encode_varint(size), *data]


def encode_int(number: int, value: int) -> Pieces:
    """A non-negative int field."""
    return [encode_varint(number << 3 | VARINT) + encode_varint(value)]


def encode_blob(values: ArrayLike, diff: ArrayLike | None = None) -> Pieces:
    """An array (and its gradient) as a BlobProto, byte for byte as protobuf writes it."""
    values = np.asarray(values)
    pieces: Pieces = []
    for number, array in ((_DATA, values), (_DIFF, diff)):
        if array is not None and np.size(array):
            flat = np.ascontiguousarray(array, "<f4").reshape(-1)
            pieces += encode_bytes(number, flat.view(np.uint8).data)
    dims = b"".join(encode_varint(size) for size in values.shape)
    return pieces + encode_bytes(_SHAPE, b"".join(encode_bytes(1, dims)) if dims else b"")
