"""Where the databases and mean files that a prototxt names lie on this machine."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from pycaffe_clr.data import sample
from pycaffe_clr.errors import DataError

DATA_DIR_VARIABLE = "PYCAFFE_CLR_DATA"
_LOG = logging.getLogger("pycaffe_clr")

# A word in a path and the command that makes what it names. The last part with a word counts.
_COMMANDS = (
    ("mnist", "data mnist"),
    ("cifar100", "data cifar100"),
    ("cifar-100", "data cifar100"),
    ("cifar", "data cifar10"),
    ("imagenet", "data synthetic --like imagenet"),
    ("ilsvrc", "data synthetic --like imagenet"),
)
_STAND_IN = " (a synthetic stand-in; ImageNet itself is converted by Caffe's create_imagenet.sh)"


def make_command(path: str | Path, data_dir: str | Path | None = None) -> str:
    """A sentence that says which command makes the data at `path`, or where to put it."""
    root = f" --root {data_dir}" if data_dir else ""
    for part in reversed(Path(str(path).lower()).parts):
        for word, command in _COMMANDS:
            if word in part:
                note = _STAND_IN if "imagenet" in command else ""
                return f"Make it with: pycaffe_clr {command}{root}{note}"
    return f"Give its folder by --data-dir or {DATA_DIR_VARIABLE}"


def search_roots(data_dir: str | Path | None = None) -> list[Path]:
    """Folders that a relative path is looked up in: here, `data_dir`, then the environment's."""
    roots = [Path()]
    for folder in (data_dir, os.environ.get(DATA_DIR_VARIABLE)):
        if folder and Path(folder) not in roots:
            roots.append(Path(folder))
    return roots


def resolve(
    path: str | Path,
    data_dir: str | Path | None = None,
    kind: str = "database",
    report: Callable[[str], None] | None = None,
) -> Path:
    """Find the database or file that a prototxt calls `path`.

    A relative path is looked up in `search_roots`; an absolute one that is not there by its last
    parts in the same, longest first. When the place found is not simply `path`, `report` (by
    default the log) is told so. The sample's databases are made where they are missing. Raises
    DataError with every place tried and what to do.
    """
    path = Path(path)
    if not path.parts:
        raise DataError(f"the {kind} has an empty path")
    tried = []
    for candidate in _candidates(path, data_dir):
        if _is_there(candidate):
            if candidate != path:
                (report or _LOG.info)(f"{kind} {path}: using {candidate}")
            return candidate
        tried.append(str(candidate))
    if path in (sample.TRAIN_LMDB, sample.TEST_LMDB):
        candidate = sample.make_sample() / path
        (report or _LOG.info)(f"{kind} {path}: using the sample in the package, {candidate}")
        return candidate
    raise DataError(
        f"{path}: no such {kind}. Looked for {', '.join(tried)}. {make_command(path, data_dir)}"
    )


def _candidates(path: Path, data_dir: str | Path | None) -> Iterator[Path]:
    roots = search_roots(data_dir)
    if not path.is_absolute():
        yield from (root / path for root in roots)
        return
    yield path
    parts = PurePosixPath(path).parts[1:]
    for first in range(len(parts)):
        yield from (root.joinpath(*parts[first:]) for root in roots)


def _is_there(path: Path) -> bool:
    """A file, or a folder that is not just an empty place where a database once was."""
    try:
        return path.is_file() or (path.is_dir() and any(path.iterdir()))
    except OSError:
        return False
