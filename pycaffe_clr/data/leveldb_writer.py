"""LevelDB databases, written without its library: all records in one table, in no need of a log.

The library opens them as its own. Formats: google/leveldb, doc/log_format.md and table_format.md.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from pycaffe_clr.data import leveldb
from pycaffe_clr.errors import DataError
from pycaffe_clr.proto.varint import encode_varint

_MANIFEST, _LOG, _TABLE = 2, 3, 4  # numbers of files; there is no such log
# Records that a block has at least, in bytes.
_BLOCK = 1 << 18
_LANES = 1024


class TableWriter:
    """Writes a database into an empty folder. A context manager on its file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._table = (folder / f"{_TABLE:06d}.ldb").open("wb")
        self._place = 0
        self._count = 0
        self._first = self._last = b""
        self._block = _Block()
        self._index = _Block()

    def write(self, records: list[tuple[bytes, bytes]]) -> None:
        """Add records. Raises DataError unless keys ascend."""
        for key, value in records:
            if self._count and key <= self._last[:-8]:
                raise DataError(f"{self._folder.name}: key {key!r:.80} does not ascend")
            self._count += 1
            self._last = key + struct.pack("<Q", self._count << 8 | leveldb.VALUE)
            self._first = self._first or self._last
            self._block.add(self._last, value)
            if self._block.size >= _BLOCK:
                self._end_block()

    def _end_block(self) -> None:
        if self._block.size:
            self._index.add(self._last, self._put(self._block))
            self._block = _Block()

    def _put(self, block: _Block) -> bytes:
        """Write a block; its handle."""
        data = block.finished() + b"\0"  # not compressed
        handle = encode_varint(self._place) + encode_varint(len(data) - 1)
        data += struct.pack("<I", _masked(crc32c(data)))
        self._table.write(data)
        self._place += len(data)
        return handle

    def finish(self) -> None:
        """Write what the records need around them."""
        self._end_block()
        handles = self._put(_Block()) + self._put(self._index)
        footer = handles.ljust(40, b"\0") + struct.pack("<Q", leveldb.MAGIC)
        self._table.write(footer)
        self._table.close()
        edit = encode_varint(leveldb.COMPARATOR) + _piece(leveldb.BYTEWISE)
        for number in (
            *(leveldb.LOG_NUMBER, _LOG, leveldb.PREVIOUS_LOG, 0),
            *(leveldb.NEXT_FILE, _TABLE + 1, leveldb.LAST_SEQUENCE, self._count),
            *(leveldb.NEW, 0, _TABLE, self._place + len(footer)),
        ):
            edit += encode_varint(number)
        edit += _piece(self._first) + _piece(self._last)
        record = b"\1" + edit  # whole, which keys of less than 16 KiB allow
        head = struct.pack("<IH", _masked(crc32c(record)), len(edit))
        manifest = f"MANIFEST-{_MANIFEST:06d}"
        (self._folder / manifest).write_bytes(head + record)
        (self._folder / "CURRENT").write_text(f"{manifest}\n")

    def close(self) -> None:
        """Let go of the file."""
        self._table.close()


class _Block:
    """Entries, each with its whole key."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._places = [0]
        self.size = 0

    def add(self, key: bytes, value: bytes) -> None:
        if self.size:
            self._places.append(self.size)
        sizes = b"\0" + encode_varint(len(key)) + encode_varint(len(value))
        self._parts += (sizes, key, value)
        self.size += len(sizes) + len(key) + len(value)

    def finished(self) -> bytes:
        ends = struct.pack(f"<{len(self._places) + 1}I", *self._places, len(self._places))
        return b"".join([*self._parts, ends])


def _piece(data: bytes) -> bytes:
    return encode_varint(len(data)) + data


def _masked(crc: int) -> int:
    """As LevelDB stores checksums."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _step_table() -> np.ndarray:
    """What each value of the lowest byte comes to in eight steps of the division."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(0x82F63B78), table >> 1)
    return table


_STEPS = _step_table()


def crc32c(data: bytes) -> int:
    """Castagnoli's cyclic redundancy check of 4 bytes or more.

    The division is linear: pieces are divided side by side, and joined by pairs.
    """
    length = -(-len(data) // _LANES)
    # Zeros in front change nothing; inverting four bytes is to begin with all ones.
    padded = np.zeros(_LANES * length, np.uint8)
    padded[padded.size - len(data) :] = np.frombuffer(data, np.uint8)
    padded[padded.size - len(data) :][:4] ^= 0xFF
    # Behind the pieces stand the 32 bits, each followed by as many zeros as a piece is long.
    state = np.concatenate([np.zeros(_LANES, np.uint32), 1 << np.arange(32, dtype=np.uint32)])
    for column in padded.reshape(_LANES, length).T:
        state[:_LANES] ^= column
        state = _STEPS[state & 0xFF] ^ state >> 8
    joined, shift = state[:_LANES], state[_LANES:]
    while len(joined) > 1:
        joined = _shifted(shift, joined[::2]) ^ joined[1::2]
        shift = _shifted(shift, shift)
    return int(joined[0]) ^ 0xFFFFFFFF


def _shifted(shift: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values with zeros behind them. shift: what that makes of each bit."""
    bits = values[:, None] >> np.arange(32, dtype=np.uint32) & 1
    return np.asarray(np.bitwise_xor.reduce(bits * shift, axis=1))
