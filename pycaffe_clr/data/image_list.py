"""Lists of pictures and labels, and the databases that convert_imageset makes of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pycaffe_clr import proto
from pycaffe_clr.data import datum, pictures
from pycaffe_clr.data.writer import DatabaseWriter
from pycaffe_clr.errors import ConfigError, DataError

Shape = tuple[int, int, int]

_SAME = {"jpeg": "jpg"}


class Entry(NamedTuple):
    """A picture's path, as the list has it, and its label."""

    path: str
    label: int


@dataclass(frozen=True)
class Conversion:
    """What convert_imageset is asked for.

    gray: one channel instead of three; height, width: 0 for each picture's own; check_size: all
    pictures must have one size; encoded: keep them compressed, as encode_type or as their files
    are; threads: that decode; backend: "lmdb" or "leveldb".
    """

    gray: bool = False
    height: int = 0
    width: int = 0
    check_size: bool = False
    encoded: bool = False
    encode_type: str = ""
    threads: int = 0
    backend: str = "lmdb"


def read_list(path: str | Path) -> list[Entry]:
    """The entries of a list file: a path, a space, a whole number on each line; paths may have
    spaces in them. Raises DataError, with the line."""
    try:
        lines = Path(path).read_text(errors="surrogateescape").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read: {reason}") from error
    entries = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, _, label = line.rstrip().rpartition(" ")
        try:
            entries.append(Entry(name, int(label)))
        except ValueError:
            raise DataError(f"{path}:{number}: expected `path label`, came {line!r:.80}") from None
        if not name or not -(2**31) <= entries[-1].label < 2**31:
            raise DataError(f"{path}:{number}: expected `path label`, came {line!r:.80}")
    if not entries:
        raise DataError(f"{path}: lists no pictures")
    return entries


def shuffled(entries: Sequence[Entry], seed: int) -> list[Entry]:
    """The entries in an order that depends on the seed alone."""
    order = np.random.default_rng(seed).permutation(len(entries))
    return [entries[i] for i in order]


def convert(
    root: str,
    entries: Sequence[Entry],
    database: Path,
    how: Conversion,
    force: bool = False,
    report: Callable[[str], None] | None = None,
) -> int:
    """Write the pictures to a database as convert_imageset does; returns how many.

    root: what stands before each path. A picture that cannot be read is reported and left out.
    Raises DataError where none is left, where sizes differ under check_size, or where the database
    cannot be written.
    """
    if (how.height > 0) != (how.width > 0):
        raise ConfigError("give both resize_height and resize_width, or neither")

    def record(entry: Entry) -> tuple[Shape, bytes] | DataError:
        try:
            return _record(Path(root + entry.path), entry.label, how)
        except DataError as error:
            return error

    size: Shape | None = None
    threads = how.threads or os.cpu_count() or 1
    with DatabaseWriter(database, force, backend=how.backend) as writer:
        made = pictures.in_threads(record, entries, threads)
        for number, (entry, result) in enumerate(zip(entries, made, strict=True)):
            if isinstance(result, DataError):
                if report is not None:
                    report(f"left out: {result}")
                continue
            shape, value = result
            if how.check_size and size not in (None, shape):
                raise DataError(
                    f"{root}{entry.path}: is {shape} (C x H x W), the pictures before {size}"
                )
            size = shape
            key = f"{number:08d}_{entry.path}".encode(errors="surrogateescape")
            writer.put(key, value)
            if report is not None and writer.count % 1000 == 0:
                report(f"Processed {writer.count} files.")
    return writer.count


def _record(path: Path, label: int, how: Conversion) -> tuple[Shape, bytes]:
    """A picture's shape and its Datum, as ReadImageToDatum makes it: a file that is already what
    is asked for is stored as it is, and compressed ones without their shape."""
    data = pictures.read_bytes(path)
    own = path.suffix[1:].lower()
    kind = how.encode_type or (own if how.encoded else "")
    wanted = 1 if how.gray else 3
    image = datum.decode_image(data, str(path), None if kind else not how.gray)
    resized = bool(how.height) and image.shape[1:] != (how.height, how.width)
    if not kind or resized or len(image) != wanted or not _same(own, kind):
        if len(image) != wanted:
            image = datum.decode_image(data, str(path), not how.gray)
        if resized:
            image = pictures.resize(image, how.height, how.width)
        if not kind:
            return _shape(image), datum.encode(image, label)
        data = pictures.encode(image, kind)
    record = proto.Datum(data=data, label=label, encoded=True)
    return _shape(image), bytes(record.SerializeToString())


def _shape(image: np.ndarray) -> Shape:
    channels, height, width = image.shape
    return channels, height, width


def _same(one: str, other: str) -> bool:
    one, other = one.lower(), other.lower()
    return _SAME.get(one, one) == _SAME.get(other, other)
