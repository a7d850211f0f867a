"""Writing record databases, whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pycaffe_clr.atomic import sync_folder
from pycaffe_clr.data import datum
from pycaffe_clr.errors import DataError

_PAGE = 4096
_NODE_LIMIT = 2000  # larger values get pages of their own
_BATCH = 1000  # records per transaction, as Caffe's converters have it


def check_free(paths: list[Path], force: bool) -> None:
    """Raise DataError if one of `paths` exists and `force` is not set."""
    for path in paths:
        if not force and (path.is_file() or (path.is_dir() and any(path.iterdir()))):
            raise DataError(f"{path} exists already; give --force to replace it")


def write_records(
    path: Path, images: np.ndarray, labels: np.ndarray, key_digits: int, force: bool = False
) -> None:
    """Write an LMDB database of raw Datum records.

    images: (N, C, H, W) uint8; labels: (N,); keys: the record's number with `key_digits` digits.
    The database appears under its name only when it is complete. Raises DataError when the place
    is taken (unless `force`) or the disk is full.
    """
    # Loaded here: a run whose databases are there needs neither.
    import tempfile

    import lmdb

    check_free([path], force)
    if not len(images) or len(images) != len(labels):
        raise DataError(f"{path}: {len(images)} images and {len(labels)} labels to write")
    parent = path.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        size = _file_size(images)
        free = shutil.disk_usage(parent).free
        if free < size:
            raise DataError(
                f"{path}: the disk is too full: {size >> 20} MiB needed, {free >> 20} MiB free"
            )
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=parent) as scratch:
            fresh = Path(scratch) / path.name
            fresh.mkdir()
            _fill(fresh, images, labels, key_digits, size)
            (fresh / "lock.mdb").unlink(missing_ok=True)
            if path.exists():
                path.rename(Path(scratch) / "replaced")
            fresh.rename(path)
            sync_folder(parent)
    except OSError as error:
        raise DataError(f"{path}: cannot write: {error.strerror or error}") from error
    except lmdb.Error as error:
        raise DataError(f"{path}: cannot write the database: {error}") from error


def _file_size(images: np.ndarray) -> int:
    """An upper bound for the bytes that the database takes."""
    record = int(images[0].nbytes) + 64
    per_record = record * 3 // 2 if record < _NODE_LIMIT else -(-record // _PAGE) * _PAGE + 128
    return len(images) * per_record + (1 << 20)


def _fill(folder: Path, images: np.ndarray, labels: np.ndarray, key_digits: int, size: int) -> None:
    import lmdb

    # Twice the estimate: the map is only address space, the file grows as pages are written.
    environment = lmdb.open(str(folder), map_size=2 * size, sync=False, mode=0o644)
    try:
        for first in range(0, len(images), _BATCH):
            with environment.begin(write=True) as transaction:
                items = list(_items(images, labels, key_digits, first))
                transaction.cursor().putmulti(items, append=True)
        environment.sync(True)
    finally:
        environment.close()


def _items(
    images: np.ndarray, labels: np.ndarray, key_digits: int, first: int
) -> Iterator[tuple[bytes, bytes]]:
    prefix = datum.raw_prefix(images.shape[1:])
    for i in range(first, min(first + _BATCH, len(images))):
        value = prefix + images[i].tobytes() + datum.raw_label(int(labels[i]))
        yield f"{i:0{key_digits}d}".encode(), value
