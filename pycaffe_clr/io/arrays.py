"""Between numpy's arrays and Caffe's messages: BlobProto, BlobProtoVector, Datum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from google.protobuf.message import DecodeError

from pycaffe_clr import proto
from pycaffe_clr.data import datum as records
from pycaffe_clr.errors import DataError

if TYPE_CHECKING:
    from pycaffe_clr.proto import BlobProto, Datum

_OLD_AXES = ("num", "channels", "height", "width")


def blobproto_to_array(blob: BlobProto, return_diff: bool = False) -> np.ndarray:
    """The values of a BlobProto, or its gradients, float64 in its shape: the old four axes where
    it has one of them, its `shape` otherwise.

    Raises ValueError, as numpy does, where the shape is that of another number of values.
    """
    single, double = (blob.diff, blob.double_diff) if return_diff else (blob.data, blob.double_data)
    values = np.array(single if len(single) else double, np.float64)
    if any(blob.HasField(axis) for axis in _OLD_AXES):
        return values.reshape([getattr(blob, axis) for axis in _OLD_AXES])
    return values.reshape(tuple(blob.shape.dim))


def array_to_blobproto(arr: np.ndarray, diff: np.ndarray | None = None) -> BlobProto:
    """A BlobProto of an array's shape and values, and of gradients of the same shape."""
    blob = proto.BlobProto()
    blob.shape.dim.extend(arr.shape)
    blob.data.extend(arr.astype(float).ravel().tolist())
    if diff is not None:
        blob.diff.extend(diff.astype(float).ravel().tolist())
    return blob


def arraylist_to_blobprotovector_str(arraylist: Iterable[np.ndarray]) -> bytes:
    """The bytes of a BlobProtoVector of arrays."""
    blobs = [array_to_blobproto(array) for array in arraylist]
    return bytes(proto.BlobProtoVector(blobs=blobs).SerializeToString())


def blobprotovector_str_to_arraylist(str: bytes) -> list[np.ndarray]:
    """The arrays of a BlobProtoVector's bytes. Raises DataError for others."""
    vector = proto.BlobProtoVector()
    try:
        vector.ParseFromString(str)
    except DecodeError as error:
        raise DataError(f"not a BlobProtoVector: {len(str)} bytes that protobuf rejects") from error
    return [blobproto_to_array(blob) for blob in vector.blobs]


def array_to_datum(arr: np.ndarray, label: int | None = None) -> Datum:
    """A Datum of a (C, H, W) array: raw bytes of uint8, floats of anything else.

    Raises ValueError for an array of other than three axes.
    """
    if arr.ndim != 3:
        raise ValueError(f"a Datum has three axes (C, H, W), the array's shape is {arr.shape}")
    channels, height, width = arr.shape
    datum = proto.Datum(channels=channels, height=height, width=width)
    if arr.dtype == np.uint8:
        datum.data = arr.tobytes()
    else:
        datum.float_data.extend(arr.astype(float).ravel().tolist())
    if label is not None:
        datum.label = label
    return datum


def datum_to_array(datum: Datum) -> np.ndarray:
    """A Datum's (C, H, W) array: uint8 of raw bytes, float64 of floats; a compressed image is
    decoded, colours in OpenCV's order (blue, green, red), which Caffe's own function cannot.

    Raises ValueError where the values are not as many as the shape needs, DataError for an image
    that cannot be decoded.
    """
    if datum.encoded:
        return records.decode_image(datum.data, "the Datum", None)
    values = np.frombuffer(datum.data, np.uint8) if datum.data else np.array(datum.float_data)
    return values.reshape(datum.channels, datum.height, datum.width).copy()
