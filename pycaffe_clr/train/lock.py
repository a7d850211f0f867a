"""The lock that says which process is writing a run's folder. Needs no compiled code."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path
from typing import TextIO

from pycaffe_clr.errors import ConfigError, DataError

_LOCK = ".lock"
# Whoever only asks holds the lock for a moment, too.
_TRIES, _PAUSE_SECONDS = 5, 0.02


def take_lock(folder: Path) -> TextIO:
    """Lock a folder, which is made where it is missing, until the stream is closed.

    Raises ConfigError where another holds it, DataError where nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / _LOCK).open("w")
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error.strerror}") from error
    for attempt in range(_TRIES):
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt + 1 < _TRIES:
                time.sleep(_PAUSE_SECONDS)
                continue
            stream.close()
            raise ConfigError(f"{folder}: another process is writing this run") from None
        except OSError:
            pass  # a file system without locks
        break
    return stream


def is_locked(folder: Path) -> bool | None:
    """Whether some run holds the folder's lock; None where its file system has no locks."""
    try:
        with (folder / _LOCK).open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False
