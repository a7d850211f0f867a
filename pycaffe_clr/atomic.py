"""Files that are either wholly there or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from pycaffe_clr.errors import DataError


def write_atomically(path: str | Path, pieces: Iterable[bytes | memoryview]) -> None:
    """Write a file through a temporary one beside it, flushed to disk and renamed.

    A crash at any moment leaves the old file or the new one, never a part. Makes the folder if it
    is not there. Raises DataError (disk full, no permission); the old file is then untouched.
    """
    path = Path(path)
    temporary = path.parent / (f".{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path}: cannot be written: {reason}") from error
    finally:
        # Gone already if it was renamed.
        with contextlib.suppress(OSError, ValueError):
            temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the file system lets folders be synced."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
