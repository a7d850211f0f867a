"""Where the records of an LMDB file lie, read without the LMDB library.

The library maps the file and follows the page numbers in it unchecked: a truncated or damaged
file ends the process with SIGBUS or SIGSEGV. This reader follows the same tree with every offset
checked, needs no lock file and no write permission, and handles a whole level of the tree at once.
It knows what Caffe writes: one unnamed database without duplicate keys, 64-bit pages,
data version 1 (LMDB 0.9).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pycaffe_clr.errors import DataError

PAGE_HEADER = 16
NODE_HEADER = 8
MAX_DEPTH = 32
_BRANCH, _LEAF, _OVERFLOW, _META = 0x01, 0x02, 0x04, 0x08
_BIG_DATA = 0x01
_MAGIC = 0xBEEFC0DE
_NO_PAGE = 0xFFFFFFFFFFFFFFFF
_META_FORMAT = struct.Struct("<8xHH4x IIQQ IHHQQQQQ IHHQQQQQ QQ")


@dataclass(frozen=True)
class RecordIndex:
    """Byte positions of every record in key order; all arrays int64 of one length."""

    key_at: np.ndarray
    key_size: np.ndarray
    value_at: np.ndarray
    value_size: np.ndarray

    def __len__(self) -> int:
        return len(self.value_at)


@dataclass(frozen=True)
class _Meta:
    page_size: int
    depth: int
    entries: int
    root: int
    last_page: int
    transaction: int


def data_file(path: Path) -> Path:
    """The file that holds the pages of the database at `path` (a folder, or the file itself).

    Raises DataError when there is no LMDB there, saying what lies there instead.
    """
    if path.is_dir():
        file = path / "data.mdb"
        if file.is_file():
            return file
        raise DataError(f"{path}: expected an LMDB database, but the folder has no data.mdb")
    if path.is_file():
        return path
    raise DataError(f"{path}: no such database")


def map_file(file: Path) -> np.ndarray:
    """The bytes of `file` as a read-only uint8 array backed by the page cache."""
    try:
        if file.stat().st_size == 0:
            raise DataError(f"{file}: the file is empty, not an LMDB database")
        return np.asarray(np.memmap(file, dtype=np.uint8, mode="r"))
    except OSError as error:
        raise DataError(f"{file}: cannot read the database: {error.strerror or error}") from error


def index_records(buffer: np.ndarray, file: Path) -> RecordIndex:
    """Find every record of the database whose pages are `buffer`.

    Raises DataError, naming `file`, when a page that the tree refers to is missing or damaged.
    """
    meta = _newest_meta(buffer, file)
    pages = len(buffer) // meta.page_size
    if meta.root == _NO_PAGE or meta.entries == 0:
        empty = np.zeros(0, np.int64)
        return RecordIndex(empty, empty, empty, empty)
    if not 1 <= meta.depth <= MAX_DEPTH:
        raise DataError(f"{file}: damaged database: a tree of depth {meta.depth}")
    return _Tree(buffer[: pages * meta.page_size], meta, file).records()


def _newest_meta(buffer: np.ndarray, file: Path) -> _Meta:
    first = _read_meta(buffer, 0)
    if first is None:
        if len(buffer) >= 16 and buffer[12:16].tobytes() == struct.pack("<I", _MAGIC):
            raise DataError(f"{file}: written by a 32-bit LMDB, whose pages cannot be read here")
        if len(buffer) < PAGE_HEADER + _META_FORMAT.size:
            raise DataError(f"{file}: truncated database: only {len(buffer)} bytes")
        raise DataError(f"{file}: not an LMDB database (data version 1)")
    second = _read_meta(buffer, first.page_size)
    if second is not None and second.page_size == first.page_size:
        return max(first, second, key=lambda meta: meta.transaction)
    return first


def _read_meta(buffer: np.ndarray, at: int) -> _Meta | None:
    block = buffer[at : at + _META_FORMAT.size].tobytes()
    if len(block) < _META_FORMAT.size:
        return None
    _, flags, magic, version, _, _, page_size, *_ = fields = _META_FORMAT.unpack(block)
    _, kind, depth, _, _, _, entries, root, last_page, transaction = fields[14:]
    if not flags & _META or magic != _MAGIC or version != 1:
        return None
    if not 512 <= page_size <= 65536 or page_size & (page_size - 1):
        return None
    # Flags of the main database: sorted duplicates or integer keys, which Caffe never asks for.
    if kind & ~0x8000:
        return None
    return _Meta(page_size, depth, entries, root, last_page, transaction)


class _Tree:
    """One B+tree, walked level by level: all its leaves lie at the same depth."""

    def __init__(self, buffer: np.ndarray, meta: _Meta, file: Path) -> None:
        self.meta, self.file = meta, file
        self.bytes = np.asarray(buffer)
        self.halves = self.bytes.view("<u2")
        self.words = self.bytes.view("<u8")
        self.pages = len(buffer) // meta.page_size
        self.seen = np.zeros(self.pages, bool)

    def records(self) -> RecordIndex:
        pages = np.array([self.meta.root], np.uint64)
        for level in range(self.meta.depth):
            pages = self._claim(pages)
            last = level + 1 == self.meta.depth
            nodes, ends = self._nodes(pages, _LEAF if last else _BRANCH)
            if last:
                return self._leaves(nodes, ends)
            low, high, top, _ = self._fields(nodes)
            pages = (low | high << 16 | top << 32).astype(np.uint64)
        raise AssertionError("depth is at least 1")

    def _damaged(self, what: str) -> DataError:
        return DataError(f"{self.file}: damaged database: {what}")

    def _check_present(self, pages: np.ndarray) -> None:
        beyond = pages[pages >= self.pages]
        if len(beyond):
            size = self.meta.page_size
            raise DataError(
                f"{self.file}: truncated database: it needs page {int(beyond[0])}, but the file "
                f"ends after {self.pages} pages of {size} bytes (its header counts "
                f"{self.meta.last_page + 1}). Copy it again, or make it again"
            )

    def _claim(self, pages: np.ndarray) -> np.ndarray:
        """Check that the pages exist and are met for the first time; no cycles, no sharing."""
        self._check_present(pages)
        pages = pages.astype(np.int64)
        ordered = np.sort(pages)
        if self.seen[pages].any() or (ordered[1:] == ordered[:-1]).any():
            raise self._damaged("two branches lead to one page")
        self.seen[pages] = True
        return pages

    def _nodes(self, pages: np.ndarray, kind: int) -> tuple[np.ndarray, np.ndarray]:
        """Byte positions of all nodes on the pages, and where each one's page ends."""
        size = self.meta.page_size
        base = pages * size
        half = base >> 1
        flags = self.halves[half + 5]
        lower = self.halves[half + 6].astype(np.int64)
        upper = self.halves[half + 7].astype(np.int64)
        wrong = (flags & 0xF) != kind
        wrong |= self.words[base >> 3] != pages.astype(np.uint64)
        wrong |= (lower < PAGE_HEADER) | (lower > upper) | (upper > size) | (lower & 1 == 1)
        if wrong.any():
            raise self._damaged(f"page {int(pages[wrong][0])} has a wrong header")
        count = (lower - PAGE_HEADER) >> 1
        starts = np.cumsum(count) - count
        slot = np.arange(int(count.sum())) - np.repeat(starts, count)
        pointer = self.halves[np.repeat(half + PAGE_HEADER // 2, count) + slot].astype(np.int64)
        bad = (pointer & 1 == 1) | (pointer < np.repeat(upper, count))
        bad |= pointer + NODE_HEADER > size
        if bad.any():
            page = int(np.repeat(pages, count)[bad][0])
            raise self._damaged(f"page {page} holds a node outside of itself")
        return np.repeat(base, count) + pointer, np.repeat(base + size, count)

    def _fields(self, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        half = nodes >> 1
        low, high, flags, key = (self.halves[half + i].astype(np.int64) for i in range(4))
        return low, high, flags, key

    def _leaves(self, nodes: np.ndarray, ends: np.ndarray) -> RecordIndex:
        low, high, flags, key_size = self._fields(nodes)
        size = low | high << 16
        if (flags & ~_BIG_DATA).any():
            raise self._damaged("a record is a sub-database or has duplicates, unlike Caffe's")
        big = flags == _BIG_DATA
        value = nodes + NODE_HEADER + key_size
        if (value + np.where(big, 8, size) > ends).any():
            raise self._damaged("a record runs over the end of its page")
        if len(nodes) != self.meta.entries:
            raise self._damaged(f"{len(nodes)} records found, {self.meta.entries} announced")
        value[big] = self._overflow(value[big], size[big])
        return RecordIndex(nodes + NODE_HEADER, key_size, value, size)

    def _overflow(self, at: np.ndarray, size: np.ndarray) -> np.ndarray:
        """Byte positions of values kept on pages of their own, whose numbers stand at `at`."""
        if not len(at):
            return at
        pages = self.bytes[at[:, None] + np.arange(8)].view("<u8").ravel()
        self._check_present(pages)
        pages = pages.astype(np.int64)
        base = pages * self.meta.page_size
        need = (size + PAGE_HEADER + self.meta.page_size - 1) // self.meta.page_size
        self._check_present(pages + need - 1)
        held = self.bytes[base[:, None] + np.arange(12, 16)].view("<u4").ravel()
        wrong = (self.halves[(base >> 1) + 5] & 0xF) != _OVERFLOW
        wrong |= held.astype(np.int64) < need
        if wrong.any():
            raise self._damaged(f"page {int(pages[wrong][0])} does not hold a record")
        return base + PAGE_HEADER
