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
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pycaffe_clr.atomic import write_atomically
from pycaffe_clr.errors import DataError
from pycaffe_clr.train import positions

if TYPE_CHECKING:
    from pycaffe_clr.train.session import Session

_MAGIC = b"pycaffe_clr checkpoint 1\n"
_LENGTHS = struct.Struct("<II")


@dataclass
class Checkpoint:
    """header: plain values that JSON holds. arrays: float32, by "data LAYER INDEX" and "history".

    header["files"]: bytes that each file of the run had. header["machine"]: threads, processor
    and backend.
    """

    header: dict[str, Any]
    arrays: dict[str, np.ndarray]


def take(session: Session, files: Mapping[str, int], machine: Mapping[str, Any]) -> Checkpoint:
    """The state of a session between two iterations. The arrays are views: write it at once."""
    elapsed = time.monotonic() - session.displayed[0]
    header = {
        "iteration": session.iteration,
        "current_step": int(session.core.current_step),
        "train": positions.capture(session.net, session.feeds),
        "tests": [
            positions.capture(net, feeds)
            for net, feeds in zip(session.test_nets, session.test_feeds, strict=True)
        ],
        "losses": list(session.losses),
        "displayed": [elapsed, session.displayed[1]],
        "files": dict(files),
        "machine": dict(machine),
    }
    return Checkpoint(header, _arrays(session))


def apply(checkpoint: Checkpoint, session: Session, name: str) -> None:
    """Put a session where the checkpoint was taken. name: what errors call the checkpoint.

    Everything is checked before anything is changed. Raises DataError where it is of another run.
    """
    header, own = checkpoint.header, _arrays(session)
    if list(checkpoint.arrays) != list(own):
        raise DataError(f"{name}: is of another net: its parameters have other names")
    for key, array in own.items():
        if checkpoint.arrays[key].shape != array.shape:
            raise DataError(
                f"{name}: {key} has shape {checkpoint.arrays[key].shape}, here {array.shape}"
            )
    try:
        tests = list(header["tests"])
        places = [header["train"], *tests]
        nets = [session.net, *session.test_nets]
        feeds = [session.feeds, *session.test_feeds]
        for net, own_feeds, place in zip(nets, feeds, places, strict=True):
            positions.restore(net, own_feeds, place)
        losses = [float(loss) for loss in header["losses"]]
        elapsed, displayed_at = header["displayed"]
        iteration, step = int(header["iteration"]), int(header["current_step"])
        session.core.restore(iteration, step)
        session.schedule.restore(iteration, step)
        session.displayed = (time.monotonic() - float(elapsed), int(displayed_at))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{name}: its header is not that of a checkpoint: {error!r}") from error
    session.losses.extend(losses)
    for key, array in own.items():
        array[...] = checkpoint.arrays[key]


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


def _arrays(session: Session) -> dict[str, np.ndarray]:
    """Views of every parameter and its history. Statistics of BatchNorm are parameters, too."""
    arrays = {}
    rows = session.net.params()
    for index in session.net.learnable():
        key = f"{rows[index]['layer']} {rows[index]['index']}"
        arrays[f"data {key}"] = session.net.param_data(index)
        arrays[f"history {key}"] = session.core.history(index)
    return arrays
