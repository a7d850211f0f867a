"""Protobuf's variable-length integers."""

from __future__ import annotations

_MAX_BYTES = 10


def encode_varint(value: int) -> bytes:
    """The bytes of a number; a negative one takes ten, as int32 and int64 fields have it."""
    value &= 0xFFFFFFFFFFFFFFFF
    pieces = bytearray()
    while value > 127:
        pieces.append(value & 127 | 128)
        value >>= 7
    pieces.append(value)
    return bytes(pieces)


def decode_varint(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """(value, position after it); what a tenth byte has beyond 64 bits is kept.

    Raises ValueError, saying what is wrong, where the data end or the number does not.
    """
    value = 0
    for count, byte in enumerate(data[position : position + _MAX_BYTES]):
        value |= (byte & 127) << (7 * count)
        if byte < 128:
            return value, position + count + 1
    if len(data) - position < _MAX_BYTES:
        raise ValueError("truncated in the middle of a number")
    raise ValueError(f"broken at byte {position + _MAX_BYTES}: a number of more than 64 bits")
