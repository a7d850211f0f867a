"""LevelDB databases, read without its library: every record, unpacked once when one is opened.

Its packages for Python are unmaintained, and its library trusts the files. This reader follows the
same files with everything checked but the checksums, which the library leaves out as well when it
reads. Formats: google/leveldb, doc/impl.md, log_format.md and table_format.md.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from pycaffe_clr.data import snappy
from pycaffe_clr.data.mdb import RecordIndex
from pycaffe_clr.errors import DataError
from pycaffe_clr.proto.varint import decode_varint

_BLOCK, _HEADER = 32768, 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
MAGIC = 0xDB4775248B80FB57
_FOOTER, _TRAILER = 48, 5
_DELETION, VALUE = 0, 1
# Fields of a manifest's edits.
COMPARATOR, LOG_NUMBER, NEXT_FILE, LAST_SEQUENCE, _POINTER = 1, 2, 3, 4, 5
_DELETED, NEW, PREVIOUS_LOG = 6, 7, 9
BYTEWISE = b"leveldb.BytewiseComparator"
# Values up to this many bytes are kept in memory; more go to a temporary file.
_MEMORY = 1 << 28


def is_leveldb(path: Path) -> bool:
    """Whether a folder holds a LevelDB database."""
    return (path / "CURRENT").is_file()


def unpack(path: Path) -> tuple[np.ndarray, RecordIndex]:
    """All keys and values of a database, one after the other in bytes, and where each is.

    What was written to a key last counts. Raises DataError for a damaged database.
    """
    spool: IO[bytes] = tempfile.SpooledTemporaryFile(_MEMORY)
    newest: dict[bytes, tuple[int, int, int]] = {}  # key: (sequence and kind, place, size)
    place = 0
    try:
        for key, sequence, value in _entries(path):
            if key in newest and newest[key][0] >= sequence:
                continue
            newest[key] = (sequence, place, len(value))
            spool.write(key + value)
            place += len(key) + len(value)
        spool.flush()
    except (OSError, struct.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot read the database: {reason}") from error
    kept = sorted(key for key, (sequence, _, _) in newest.items() if sequence & 0xFF == VALUE)
    places = np.array([newest[key][1] for key in kept], np.int64)
    sizes = np.array([newest[key][2] for key in kept], np.int64)
    keys = np.array([len(key) for key in kept], np.int64)
    return _mapped(spool, place), RecordIndex(places, keys, places + keys, sizes)


def _mapped(spool: IO[bytes], size: int) -> np.ndarray:
    """The bytes of the spool: of a file as pages that can be dropped."""
    if size <= _MEMORY:
        spool.seek(0)
        return np.frombuffer(spool.read() or b"\0", np.uint8)
    spool.fileno()  # have it be a file
    return np.asarray(np.memmap(spool, np.uint8, "r"))


def _entries(path: Path) -> Iterator[tuple[bytes, int, bytes]]:
    """(key, sequence << 8 | kind, value) of tables, then logs."""
    tables, first_logs = _read_manifest(path)
    for number in sorted(tables):
        names = (path / f"{number:06d}.ldb", path / f"{number:06d}.sst")
        found = next((name for name in names if name.is_file()), None)
        if found is None:
            raise DataError(f"{path}: damaged database: table {names[0].name} is missing")
        yield from _table(found)
    for log in sorted(path.glob("*.log")):
        if log.stem.isdecimal() and int(log.stem) in first_logs:
            yield from _log_entries(log)


class _Logs:
    """Numbers of logs whose records are in no table yet: from one on, and one before it."""

    def __init__(self) -> None:
        self.first, self.previous = 0, 0

    def __contains__(self, number: int) -> bool:
        return number >= self.first or number == self.previous


def _damaged(file: Path, what: object) -> DataError:
    return DataError(f"{file}: damaged database: {what}")


def _read_manifest(path: Path) -> tuple[set[int], _Logs]:
    """Numbers of the tables that count, and of the logs."""
    name = (path / "CURRENT").read_text(errors="replace").strip()
    manifest = path / name
    if not name.startswith("MANIFEST-") or "/" in name or not manifest.is_file():
        raise DataError(f"{path}: damaged database: CURRENT names {name!r:.40}, which is not there")
    tables: set[int] = set()
    logs = _Logs()
    for edit in _log_records(manifest):
        try:
            _apply(edit, tables, logs)
        except (ValueError, IndexError) as error:
            raise _damaged(manifest, error) from error
    return tables, logs


def _apply(edit: bytes, tables: set[int], logs: _Logs) -> None:
    at = 0
    while at < len(edit):
        field, at = decode_varint(edit, at)
        if field == COMPARATOR:
            name, at = _piece(edit, at)
            if name != BYTEWISE:
                raise ValueError(f"its keys are ordered by {name!r:.60}")
            continue
        number, at = decode_varint(edit, at)
        if field == LOG_NUMBER:
            logs.first = number
        elif field == PREVIOUS_LOG:
            logs.previous = number
        elif field == _POINTER:
            _, at = _piece(edit, at)
        elif field in (_DELETED, NEW):
            table, at = decode_varint(edit, at)
            (tables.discard if field == _DELETED else tables.add)(table)
            if field == NEW:
                _, at = decode_varint(edit, at)
                _, at = _piece(edit, at)
                _, at = _piece(edit, at)
        elif field not in (NEXT_FILE, LAST_SEQUENCE):
            raise ValueError(f"an edit has the unknown field {field}")


def _piece(data: bytes, at: int) -> tuple[bytes, int]:
    """Bytes with their length in front, and the position after them."""
    size, at = decode_varint(data, at)
    if at + size > len(data):
        raise ValueError("a record runs over its end")
    return data[at : at + size], at + size


def _log_records(file: Path) -> Iterator[bytes]:
    """Records of a log; one that the end of the file cuts off was never complete."""
    whole: list[bytes] | None = None
    with file.open("rb") as opened:
        while block := opened.read(_BLOCK):
            at = 0
            while at + _HEADER <= len(block):
                size, kind = struct.unpack_from("<HB", block, at + 4)
                at += _HEADER
                if kind == 0 and size == 0:  # room that was set aside
                    break
                if kind not in (_FULL, _FIRST, _MIDDLE, _LAST):
                    raise _damaged(file, f"a record of the unknown kind {kind}")
                if at + size > len(block):
                    if len(block) < _BLOCK:
                        return
                    raise _damaged(file, "a record runs over its block")
                part = block[at : at + size]
                at += size
                if kind in (_FULL, _FIRST):
                    whole = []
                if whole is None:
                    raise _damaged(file, "a record has no beginning")
                whole.append(part)
                if kind in (_FULL, _LAST):
                    yield b"".join(whole)
                    whole = None


def _log_entries(file: Path) -> Iterator[tuple[bytes, int, bytes]]:
    """What the batches of a log wrote."""
    for batch in _log_records(file):
        if len(batch) < 12:
            raise _damaged(file, "a batch without its head")
        sequence, count = struct.unpack_from("<QI", batch)
        at = 12
        try:
            for number in range(count):
                kind = batch[at]
                key, at = _piece(batch, at + 1)
                value = b""
                if kind == VALUE:
                    value, at = _piece(batch, at)
                elif kind != _DELETION:
                    raise ValueError(f"a change of the unknown kind {kind}")
                yield key, (sequence + number) << 8 | kind, value
        except (ValueError, IndexError) as error:
            raise _damaged(file, error) from error


def _table(file: Path) -> Iterator[tuple[bytes, int, bytes]]:
    """All entries of a table."""
    with file.open("rb") as opened:
        size = opened.seek(0, 2)
        if size < _FOOTER:
            raise DataError(f"{file}: truncated database: only {size} bytes")
        opened.seek(size - _FOOTER)
        footer = opened.read(_FOOTER)
        if struct.unpack_from("<Q", footer, _FOOTER - 8) != (MAGIC,):
            raise _damaged(file, "not a table")
        try:
            _, at = _handle(footer, 0)
            index, _ = _handle(footer, at)
            end = 0
            for _, packed in _block_entries(_block(opened, size, index)):
                handle, _ = _handle(packed, 0)
                if handle[0] < end:  # else a small file could stand for any number of records
                    raise ValueError("two blocks share their bytes")
                end = sum(handle)
                block = _block(opened, size, handle)
                for internal, value in _block_entries(block):
                    if len(internal) < 8 or internal[-8] not in (_DELETION, VALUE):
                        raise ValueError("a key without its sequence")
                    yield internal[:-8], int.from_bytes(internal[-8:], "little"), value
        except (ValueError, IndexError) as error:
            raise _damaged(file, error) from error


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """(place, size) of a block, and the position after them."""
    place, at = decode_varint(data, at)
    size, at = decode_varint(data, at)
    return (place, size), at


def _block(opened: IO[bytes], file_size: int, handle: tuple[int, int]) -> bytes:
    place, size = handle
    if place + size + _TRAILER > file_size:
        raise ValueError("a block lies beyond the end of its file; was it truncated?")
    opened.seek(place)
    data = opened.read(size + _TRAILER)
    kind = data[size]
    if kind > 1:
        raise ValueError(f"a block is compressed in the unknown way {kind}")
    return snappy.decompress(data[:size]) if kind else data[:size]


def _block_entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys, of which each has a beginning in common with the one before, and values."""
    if len(block) < 4:
        raise ValueError("a block without its end")
    (restarts,) = struct.unpack_from("<I", block, len(block) - 4)
    end = len(block) - 4 - 4 * restarts
    if end < 0:
        raise ValueError("a block's end is larger than the block")
    key, at = b"", 0
    while at < end:
        shared, at = decode_varint(block, at)
        own, at = decode_varint(block, at)
        size, at = decode_varint(block, at)
        if shared > len(key) or at + own + size > end:
            raise ValueError("an entry runs over its block")
        key = key[:shared] + block[at : at + own]
        at += own
        yield key, block[at : at + size]
        at += size
