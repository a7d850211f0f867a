"""Writing record databases, whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from pycaffe_clr.atomic import sync_folder
from pycaffe_clr.data import datum
from pycaffe_clr.data.leveldb_writer import TableWriter
from pycaffe_clr.errors import DataError

_PAGE = 4096
_NODE_LIMIT = 2000  # larger values get pages of their own
_BATCH = 1000  # records per transaction, as Caffe's converters have it
# Address space that a database begins with, and twice as much whenever it is full.
_MAP_SIZE = 1 << 28


def check_free(paths: list[Path], force: bool) -> None:
    """Raise DataError if one of `paths` exists and `force` is not set."""
    for path in paths:
        if not force and (path.is_file() or (path.is_dir() and any(path.iterdir()))):
            raise DataError(f"{path} exists already; give --force to replace it")


class _Lmdb:
    """An LMDB database in an empty folder."""

    def __init__(self, folder: Path, map_size: int) -> None:
        # Loaded here: a run whose databases are there does not need it.
        import lmdb

        self._folder = folder
        self._full, self._error = lmdb.MapFullError, lmdb.Error
        self._map_size = map_size
        with self._told():
            self._environment: Any = lmdb.open(
                str(folder), map_size=map_size, sync=False, mode=0o644
            )

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._error as error:
            raise DataError(f"{self._folder.name}: cannot write the database: {error}") from error

    def write(self, records: list[tuple[bytes, bytes]]) -> None:
        with self._told():
            while True:
                try:
                    with self._environment.begin(write=True) as transaction:
                        # LMDB's keys end at 511 bytes.
                        short = [(key[:511], value) for key, value in records]
                        transaction.cursor().putmulti(short, append=True)
                    return
                except self._full:
                    self._map_size *= 2
                    self._environment.set_mapsize(self._map_size)

    def finish(self) -> None:
        with self._told():
            self._environment.sync(True)
        self._environment.close()
        (self._folder / "lock.mdb").unlink(missing_ok=True)

    def close(self) -> None:
        self._environment.close()


class DatabaseWriter:
    """Writes records one after the other to a database that appears under its name when it is
    complete; a context manager, which on errors leaves nothing behind.

    backend: "lmdb" or "leveldb". map_size: LMDB's address space, by default as much as it comes to
    need. Raises DataError when the place is taken (unless `force`) or the disk is full.
    """

    def __init__(
        self,
        path: Path,
        force: bool = False,
        map_size: int = _MAP_SIZE,
        backend: str = "lmdb",
    ) -> None:
        self._path = path
        self._waiting: list[tuple[bytes, bytes]] = []
        self.count = 0
        check_free([path], force)
        with self._told():
            import tempfile

            path.parent.mkdir(parents=True, exist_ok=True)
            self._scratch = tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent)
            self._fresh = Path(self._scratch.name) / path.name
            self._fresh.mkdir()
            self._store: _Lmdb | TableWriter = (
                TableWriter(self._fresh) if backend == "leveldb" else _Lmdb(self._fresh, map_size)
            )

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(f"{self._path}: cannot write: {error.strerror or error}") from error

    def put(self, key: bytes, value: bytes) -> None:
        """Add a record. Keys must ascend, and differ in their first 511 bytes."""
        self._waiting.append((key, value))
        self.count += 1
        if len(self._waiting) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            with self._told():
                self._store.write(self._waiting)
            self._waiting = []

    def __enter__(self) -> DatabaseWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._complete()
        finally:
            self._store.close()
            self._scratch.cleanup()

    def _complete(self) -> None:
        if not self.count:
            raise DataError(f"{self._path}: there are no records to write")
        self._flush()
        with self._told():
            self._store.finish()
            if self._path.exists():
                self._path.rename(Path(self._scratch.name) / "replaced")
            self._fresh.rename(self._path)
            sync_folder(self._path.parent)


def write_records(
    path: Path, images: np.ndarray, labels: np.ndarray, key_digits: int, force: bool = False
) -> None:
    """Write an LMDB database of raw Datum records.

    images: (N, C, H, W) uint8; labels: (N,); keys: the record's number with `key_digits` digits.
    The database appears under its name only when it is complete. Raises DataError when the place
    is taken (unless `force`) or the disk is full.
    """
    check_free([path], force)
    if not len(images) or len(images) != len(labels):
        raise DataError(f"{path}: {len(images)} images and {len(labels)} labels to write")
    size = _file_size(images)
    _check_disk(path, size)
    prefix = datum.raw_prefix(images.shape[1:])
    # Twice the estimate: the map is only address space, the file grows as pages are written.
    with DatabaseWriter(path, force, map_size=2 * size) as writer:
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            value = prefix + image.tobytes() + datum.raw_label(int(label))
            writer.put(f"{i:0{key_digits}d}".encode(), value)


def _check_disk(path: Path, size: int) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
    except OSError as error:
        raise DataError(f"{path}: cannot write: {error.strerror or error}") from error
    if free < size:
        raise DataError(
            f"{path}: the disk is too full: {size >> 20} MiB needed, {free >> 20} MiB free"
        )


def _file_size(images: np.ndarray) -> int:
    """An upper bound for the bytes that the database takes."""
    record = int(images[0].nbytes) + 64
    per_record = record * 3 // 2 if record < _NODE_LIMIT else -(-record // _PAGE) * _PAGE + 128
    return len(images) * per_record + (1 << 20)
