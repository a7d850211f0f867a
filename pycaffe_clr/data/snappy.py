"""Snappy's compression, undone. Format: google/snappy, format_description.txt."""

from __future__ import annotations

from pycaffe_clr.proto.varint import decode_varint

# Three bytes make 64 at most: what a longer claim is, is no honest one.
_MAX_RATIO = 22


def decompress(data: bytes) -> bytes:
    """The bytes that were compressed. Raises ValueError for data that are none of snappy's."""
    size, at = decode_varint(data, 0)
    if size > _MAX_RATIO * len(data) + 64:
        raise ValueError(f"{len(data)} compressed bytes claim to be {size}")
    out = bytearray()
    end = len(data)
    while at < end:
        tag = data[at]
        kind = tag & 3
        if kind == 0:
            length = (tag >> 2) + 1
            at += 1
            if length > 60:
                more = length - 60
                length = int.from_bytes(data[at : at + more], "little") + 1
                at += more
            if at + length > end:
                raise ValueError("truncated compressed data")
            out += data[at : at + length]
            at += length
            continue
        if kind == 1:
            length = ((tag >> 2) & 7) + 4
            offset = ((tag >> 5) << 8) | int.from_bytes(data[at + 1 : at + 2], "little")
            at += 2
        else:
            width = 2 if kind == 2 else 4
            length = (tag >> 2) + 1
            offset = int.from_bytes(data[at + 1 : at + 1 + width], "little")
            at += 1 + width
        start = len(out) - offset
        if offset == 0 or start < 0 or at > end:
            raise ValueError("compressed data refer to what is not there")
        if offset >= length:
            out += out[start : start + length]
        else:  # repeats what it writes
            out += (out[start:] * (length // offset + 1))[:length]
        if len(out) > size:
            break
    if len(out) != size:
        raise ValueError(f"compressed data hold {len(out)} bytes, {size} are announced")
    return bytes(out)
