"""Record sources: numbered images with labels, in the order in which Caffe's cursor meets them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from pathlib import Path
from threading import Lock
from typing import NamedTuple, Protocol
from weakref import WeakValueDictionary

import numpy as np
from numpy.lib.stride_tricks import as_strided

from pycaffe_clr.data import datum, leveldb, mdb
from pycaffe_clr.data.resolve import make_command
from pycaffe_clr.errors import DataError, shape_text

# Databases up to this many bytes of pixels are kept in memory whole (CIFAR: 150 MB).
HOLD_LIMIT = 1 << 30
# Pixels are gathered in pieces that stay in the processor's cache.
_PIECE = 1 << 20
# After this many byte layouts for one record size the rest is left to protobuf.
_MAX_LAYOUTS = 16


class Held(NamedTuple):
    """A whole set in memory: images (N, C, H, W) uint8, labels (N,) int32, both read-only."""

    data: np.ndarray
    labels: np.ndarray


class Source(Protocol):
    """Numbered records of one shape.

    name: for messages; shape: (C, H, W); dtype: uint8 or float32; encoded: whether the first record
    is a compressed image; rounds: whether numbers beyond the end are records of later rounds, which
    may have another order, so that nobody takes them modulo the size.
    """

    name: str
    shape: tuple[int, int, int]
    dtype: np.dtype
    encoded: bool
    rounds: bool

    def __len__(self) -> int: ...

    @property
    def held(self) -> Held | None:
        """The whole set as one uint8 array when it is small enough, else None."""

    def read(
        self,
        records: int | Sequence[int] | np.ndarray,
        count: int | None = None,
        out: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Images (n, C, H, W) and int32 labels (n,) of some records.

        records: their numbers, or the first one with a count; a range wraps at the end, as a
        cursor does. out: a C-contiguous array of self.dtype to fill instead of a new one.
        """

    def describe(self, record: int) -> str:
        """Name, record number and key, to open an error message."""


def record_numbers(
    records: int | Sequence[int] | np.ndarray, count: int | None, length: int
) -> np.ndarray:
    """The record numbers that `Source.read` was asked for, each below `length`."""
    if count is not None:
        return (int(np.asarray(records)) + np.arange(count, dtype=np.int64)) % length
    numbers = np.atleast_1d(np.asarray(records, np.int64))
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < length:
        raise DataError(f"record {numbers.max()} asked for, there are {length}")
    return numbers


def output_array(out: np.ndarray | None, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """`out` if it can take records of this shape and kind, a new array if it is None."""
    if out is None:
        return np.empty(shape, dtype)
    if out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous:
        raise DataError(f"out must be a contiguous {dtype} array of shape {shape}")
    return out


class RawRecords:
    """The records of a database, LMDB or LevelDB, as bytes. Raises DataError where it is missing,
    empty or damaged."""

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        self.name = str(path)
        if not path.exists():
            raise DataError(f"{path}: no such database. {make_command(path)}")
        self._path = path
        self._bytes: np.ndarray | None
        self._bytes, self._index = self._load(path)
        if not len(self._index):
            raise DataError(f"{path}: the database is empty. {make_command(path)}")

    def _load(self, path: Path) -> tuple[np.ndarray, mdb.RecordIndex]:
        """The bytes, and where the records lie in them."""
        if leveldb.is_leveldb(path):
            return leveldb.unpack(path)
        file = mdb.data_file(path)
        pages = mdb.map_file(file)
        return pages, mdb.index_records(pages, file)

    def __len__(self) -> int:
        return len(self._index)

    def describe(self, record: int) -> str:
        """`PATH: record 7 (key '00000007')`."""
        at, size = self._index.key_at[record], self._index.key_size[record]
        key = self._pages()[at : at + size].tobytes().decode("ascii", "backslashreplace")
        return f"{self.name}: record {record} (key '{key}')"

    def _pages(self) -> np.ndarray:
        if self._bytes is None:
            self._bytes, _ = self._load(self._path)
        return self._bytes

    def value(self, record: int) -> bytes:
        """A record's bytes."""
        at = self._index.value_at[record]
        return self._pages()[at : at + self._index.value_size[record]].tobytes()


class _Database(RawRecords):
    """Datum records whose bytes lie somewhere in an array; see LmdbSource."""

    rounds = False

    def __init__(
        self, path: str | Path, hold_limit: int = HOLD_LIMIT, color: bool | None = None
    ) -> None:
        super().__init__(path)
        self._color = color
        self._layouts: dict[int, list[datum.Layout]] = {}
        first = datum.decode(self.value(0), self.describe(0), color)
        self.shape = (first.image.shape[0], first.image.shape[1], first.image.shape[2])
        self.dtype = first.image.dtype
        self.encoded = first.encoded
        self._hold = len(self) * first.image.nbytes <= hold_limit and self.dtype == np.uint8
        self._held: Held | None = None
        self._holding = Lock()

    @property
    def held(self) -> Held | None:
        """The whole set in memory, read when first asked for; None if it is not to be held."""
        with self._holding:
            if self._held is None and self._hold:
                data = np.empty((len(self), *self.shape), np.uint8)
                labels = np.empty(len(self), np.int32)
                self._gather(np.arange(len(self)), data, labels)
                data.flags.writeable = labels.flags.writeable = False
                self._held = Held(data, labels)
                self._bytes = None  # the pages mapped so far would count as our memory
        return self._held

    def read(
        self,
        records: int | Sequence[int] | np.ndarray,
        count: int | None = None,
        out: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Images and labels as Source.read; DataError, naming the record, for a broken one."""
        numbers = record_numbers(records, count, len(self))
        out = output_array(out, (len(numbers), *self.shape), self.dtype)
        if self._held is not None:
            np.take(self._held.data, numbers, axis=0, out=out, mode="clip")
            return out, self._held.labels[numbers]
        labels = np.empty(len(numbers), np.int32)
        self._gather(numbers, out, labels)
        return out, labels

    def _gather(self, numbers: np.ndarray, out: np.ndarray, labels: np.ndarray) -> None:
        """Decode the records `numbers` into the rows of `out` and `labels`."""
        if self.encoded:
            self._decode_all(numbers, out, labels)
            return
        sizes = self._index.value_size[numbers]
        for size in sorted(set(sizes.tolist())):
            rows = np.flatnonzero(sizes == size)
            for layout in self._layouts.get(size, []):
                rows = self._gather_alike(layout, numbers, rows, out, labels)
            while len(rows):
                layout_found = self._new_layout(size, int(numbers[rows[0]]))
                if layout_found is not None:
                    rows = self._gather_alike(layout_found, numbers, rows, out, labels)
                else:
                    self._decode_one(int(numbers[rows[0]]), int(rows[0]), out, labels)
                    rows = rows[1:]

    def _new_layout(self, size: int, record: int) -> datum.Layout | None:
        known = self._layouts.setdefault(size, [])
        if len(known) >= _MAX_LAYOUTS or self.dtype != np.uint8:
            return None
        layout = datum.Layout.of(self.value(record))
        if layout is None or layout.shape != self.shape:
            return None
        known.append(layout)
        return layout

    def _gather_alike(
        self,
        layout: datum.Layout,
        numbers: np.ndarray,
        rows: np.ndarray,
        out: np.ndarray,
        labels: np.ndarray,
    ) -> np.ndarray:
        """Copy the records that have this layout; return the rows that have not."""
        pages = self._pages()
        start = self._index.value_at[numbers[rows]]
        fits = np.ones(len(rows), bool)
        for begin, end in layout.fixed_parts():
            fits &= layout.agrees(begin, _windows(pages, end - begin)[start + begin])
        start, taken = start[fits], rows[fits]
        label_bytes = _windows(pages, layout.label_size)[start + layout.label_at]
        labels[taken] = layout.labels(label_bytes)
        pixels = _windows(pages, layout.data_size)
        flat = out.reshape(len(out), -1)
        step = max(1, _PIECE // layout.data_size)
        for i in range(0, len(taken), step):
            flat[taken[i : i + step]] = pixels[start[i : i + step] + layout.data_at]
        return rows[~fits]

    def _decode_all(self, numbers: np.ndarray, out: np.ndarray, labels: np.ndarray) -> None:
        """Decode compressed images in all cores; the first broken record's error comes out."""
        pool = decoders()
        waiting = [
            pool.submit(self._decode_one, record, row, out, labels)
            for row, record in enumerate(numbers.tolist())
        ]
        wait(waiting)  # also for those after a broken one, which write to `out`
        for each in waiting:
            each.result()

    def _decode_one(self, record: int, row: int, out: np.ndarray, labels: np.ndarray) -> None:
        where = self.describe(record)
        record_read = datum.decode(self.value(record), where, self._color)
        image, label = record_read.image, record_read.label
        if image.shape != self.shape or image.dtype != self.dtype:
            raise DataError(
                f"{where} is {_kind(image.shape, image.dtype)}, but record 0 is "
                f"{_kind(self.shape, self.dtype)}; all records of a database must agree"
            )
        out[row], labels[row] = image, label


class LmdbSource(_Database):
    """The Datum records of an LMDB database, read-only and without a lock.

    path: the folder that holds data.mdb. hold_limit: bytes of pixels up to which `held` loads the
    whole set. color: see `datum.decode`. Raises DataError when the database is missing, empty,
    truncated or damaged, or its first record is not a Datum; reading raises it for others.
    encoded: whether the first record is a compressed image.
    """


class LevelDbSource(_Database):
    """The Datum records of a LevelDB database, unpacked when it is opened; see LmdbSource."""


@cache
def decoders() -> ThreadPoolExecutor:
    """Threads for all sources; Pillow decodes outside of the interpreter's lock."""
    return ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="decode")


def _windows(pages: np.ndarray, size: int) -> np.ndarray:
    """View of `pages` whose row i is the `size` bytes from byte i on."""
    return as_strided(pages, (len(pages) - size + 1, size), (1, 1), writeable=False)


def _kind(shape: tuple[int, ...], dtype: np.dtype) -> str:
    return f"{shape_text(shape)} (C x H x W) of {dtype}"


_opening = Lock()
_open: WeakValueDictionary[tuple[object, ...], LmdbSource] = WeakValueDictionary()


def open_source(path: str | Path, color: bool | None = None) -> LmdbSource | LevelDbSource:
    """The source of a Data layer: LMDB or LevelDB, whichever lies there, not what its `backend`
    says; see LmdbSource.

    An LMDB that somebody has open already is handed out again, as long as its file stays as it is:
    runs beside each other hold a set once.
    """
    path = Path(path)
    if leveldb.is_leveldb(path):
        return LevelDbSource(path, color=color)
    try:
        facts = mdb.data_file(path).stat()
    except (OSError, DataError):
        return LmdbSource(path, color=color)  # which says what is wrong
    key = (str(path), path.absolute(), facts.st_ino, facts.st_mtime_ns, facts.st_size, color)
    with _opening:
        source = _open.get(key)
        if source is None:
            source = _open[key] = LmdbSource(path, color=color)
    return source
