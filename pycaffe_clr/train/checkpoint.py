"""Rolling checkpoints: everything a run needs to go on bit for bit, in one file of our own.

Unlike Caffe's snapshots they hold where the databases stand, the numbers of the passes (which key
random numbers), the window of smoothed losses, and how long the log and the tables were.

The file: a magic line, the length of a JSON header and its CRC-32 (both little-endian 32 bits),
the header, then the arrays as raw float32. It is written beside the old one and renamed, so that
there is always a whole one.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pycaffe_clr.atomic import write_atomically
from pycaffe_clr.errors import DataError
from pycaffe_clr.train.state import State

_MAGIC = b"pycaffe_clr checkpoint 1\n"
_LENGTHS = struct.Struct("<II")


@dataclass
class Checkpoint:
    """header: plain values that JSON holds. arrays: float32, by State's names.

    header["files"]: bytes that each file of the run had. header["machine"]: threads, processor
    and backend.
    """

    header: dict[str, Any]
    arrays: dict[str, np.ndarray]


def of_state(state: State, **more: Any) -> Checkpoint:
    """A checkpoint of a session's state. more: what else its header holds. Write it at once where
    the arrays are views."""
    header = {
        "iteration": state.iteration,
        "current_step": state.current_step,
        "train": dict(state.train),
        "tests": [dict(place) for place in state.tests],
        "losses": state.losses,
        "displayed": [state.since_display, state.displayed_at],
        "type": state.type,
        **more,
    }
    return Checkpoint(header, state.arrays)


def state_of(checkpoint: Checkpoint, name: str) -> State:
    """The state of a session in a checkpoint. name: what errors call it. Raises DataError."""
    header = checkpoint.header
    try:
        elapsed, displayed_at = header["displayed"]
        return State(
            int(header["iteration"]),
            int(header["current_step"]),
            _place(header["train"]),
            [_place(place) for place in header["tests"]],
            [float(loss) for loss in header["losses"]],
            float(elapsed),
            int(displayed_at),
            checkpoint.arrays,
            str(header.get("type", "")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{name}: its header is not that of a checkpoint: {error!r}") from error


def _place(place: Mapping[str, Any]) -> dict[str, Any]:
    feeds = {name: int(position) for name, position in place["feeds"].items()}
    return {"pass": int(place["pass"]), "feeds": feeds}


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write the file atomically. Raises DataError; the checkpoint before is then untouched."""
    arrays = {key: np.ascontiguousarray(a, "<f4") for key, a in checkpoint.arrays.items()}
    blocks = [_bytes(array) for array in arrays.values()]
    header = dict(checkpoint.header)
    header["arrays"] = [
        {"name": key, "shape": array.shape, "crc": zlib.crc32(block)}
        for (key, array), block in zip(arrays.items(), blocks, strict=True)
    ]
    text = json.dumps(header).encode()
    write_atomically(path, [_MAGIC, _LENGTHS.pack(len(text), zlib.crc32(text)), text, *blocks])


def read(path: Path) -> Checkpoint:
    """Read a checkpoint. Raises DataError where it is missing, damaged or of another kind."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if not data.startswith(_MAGIC):
        raise DataError(f"{path}: is not a checkpoint of this version")
    try:
        return _parse(data)
    except (ValueError, KeyError, TypeError, struct.error, OverflowError) as error:
        raise DataError(f"{path}: is damaged ({error})") from error


def _parse(data: bytes) -> Checkpoint:
    size, crc = _LENGTHS.unpack_from(data, len(_MAGIC))
    at = len(_MAGIC) + _LENGTHS.size
    text = data[at : at + size]
    if len(text) != size or zlib.crc32(text) != crc:
        raise ValueError("its header is not whole")
    header = json.loads(text)
    at += size
    arrays = {}
    for entry in header.pop("arrays"):
        count = int(np.prod(entry["shape"], dtype=np.int64))
        array = np.frombuffer(data, "<f4", count, at)
        if zlib.crc32(_bytes(array)) != entry["crc"]:
            raise ValueError(f"{entry['name']} is not as it was written")
        arrays[entry["name"]] = array.reshape(entry["shape"])
        at += array.nbytes
    if at != len(data):
        raise ValueError("its length does not fit its header")
    return Checkpoint(header, arrays)


def _bytes(array: np.ndarray) -> memoryview:
    """The memory of a contiguous array."""
    return array.reshape(-1).data.cast("B")
