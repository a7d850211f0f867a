"""Finding and opening the files that data sets are published as: plain, .gz, or in a .tar.gz."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

from pycaffe_clr.errors import DataError

# What a damaged archive can raise while it is read.
_READ_ERRORS = (OSError, EOFError, zlib.error, tarfile.TarError)


def read_limited(file: IO[bytes], limit: int, name: str) -> bytes:
    """All bytes of `file`; DataError if it is damaged or larger than `limit` bytes."""
    try:
        data = file.read(limit + 1)
    except _READ_ERRORS as error:
        raise DataError(f"{name}: cannot be read to its end: {error}") from error
    if len(data) > limit:
        raise DataError(f"{name}: larger than the {limit} bytes that such a file can have")
    return data


def read_file(path: Path, limit: int) -> bytes:
    """The contents of a plain or .gz file; DataError as `read_limited`."""
    try:
        file: Any = gzip.open(path) if path.suffix == ".gz" else path.open("rb")
        with file:
            return read_limited(file, limit, str(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be opened: {error}") from error


def find(folder: Path, names: Iterable[str], below: Iterable[str]) -> Path | None:
    """The first of `names` that is a file in `folder` or in a folder `below` it."""
    names = list(names)
    for place in (folder, *(folder / part for part in below)):
        for name in names:
            if (place / name).is_file():
                return place / name
    return None


def read_members(archive: Path, names: Iterable[str], limit: int) -> dict[str, bytes]:
    """Files of a .tar or .tar.gz by their last name, without unpacking it to disk.

    Raises DataError when one is missing, too large, or the archive is damaged.
    """
    wanted, found = set(names), {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = member.name.rsplit("/", 1)[-1]
                if name in wanted and member.isfile():
                    file = tar.extractfile(member)
                    assert file is not None  # isfile() above
                    found[name] = read_limited(file, limit, f"{archive}: {name}")
                    if len(found) == len(wanted):
                        return found
    except _READ_ERRORS as error:
        raise DataError(f"{archive}: damaged archive: {error}") from error
    missing = ", ".join(sorted(wanted - found.keys()))
    raise DataError(f"{archive}: the archive has no {missing}")


Reader = Callable[[str], bytes]


def reader(folder: Path, names: list[str], archives: list[str], limit: int) -> Reader | None:
    """A function that returns the contents of the file with a given name of `names`.

    The files lie in `folder`, in a folder of it, or in one of `archives` there; None if not all do.
    """
    below = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    paths = {name: find(folder, (name, name + ".gz"), below) for name in names}
    plain = {name: path for name, path in paths.items() if path is not None}
    if len(plain) == len(names):
        return lambda name: read_file(plain[name], limit)
    archive = folder if folder.is_file() else find(folder, archives, below)
    if archive is None:
        return None
    members = read_members(archive, names, limit)
    return lambda name: members.pop(name)
