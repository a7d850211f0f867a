"""Fetching the makers' files: several addresses, resumed where it stopped, checked by checksum."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from rich import progress

from pycaffe_clr.errors import DataError

_BLOCK = 1 << 18
_TIMEOUT = 30  # seconds without a byte
_TRIES = 3  # per address
_ERRORS = (urllib.error.URLError, http.client.HTTPException, OSError, ValueError)


@dataclass(frozen=True)
class RemoteFile:
    """A published file: its name, MD5 as its makers or mirrors list it, and where it lies."""

    name: str
    md5: str
    urls: tuple[str, ...]


_MNIST = (
    "http://yann.lecun.com/exdb/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_CIFAR = ("https://www.cs.toronto.edu/~kriz/",)


def _remote(name: str, md5: str, folders: tuple[str, ...]) -> RemoteFile:
    return RemoteFile(name, md5, tuple(folder + name for folder in folders))


FILES: dict[str, tuple[RemoteFile, ...]] = {
    "mnist": (
        _remote("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873", _MNIST),
        _remote("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432", _MNIST),
        _remote("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3", _MNIST),
        _remote("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c", _MNIST),
    ),
    "cifar10": (_remote("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530", _CIFAR),),
    "cifar100": (_remote("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8", _CIFAR),),
}


def fetch(file: RemoteFile, folder: Path, quiet: bool = False) -> Path:
    """Have `file` in `folder`, downloading what is not there yet; return its path.

    An unfinished download lies beside it as NAME.part and is continued. A progress bar is shown
    on a terminal unless `quiet`. Raises DataError when no address delivers the right bytes or the
    disk is full, listing what each address said.
    """
    target = folder / file.name
    if target.is_file() and _md5(target) == file.md5:
        return target
    part = target.with_name(target.name + ".part")
    said: list[str] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for url in file.urls:
            for _ in range(_TRIES):
                problem, again = _attempt(url, file.md5, part, quiet)
                if problem is None:
                    part.replace(target)
                    return target
                said.append(f"{url}: {problem}")
                if not again:
                    break
    except OSError as error:
        raise DataError(f"{target}: cannot write: {error.strerror or error}") from error
    raise DataError(
        f"cannot download {file.name}: {'; '.join(dict.fromkeys(said))}. Fetch it by other means "
        "and give its folder with --from"
    )


def _attempt(url: str, md5: str, part: Path, quiet: bool) -> tuple[str | None, bool]:
    """One try: (None, _) when `part` is whole and right, else what went wrong and if to retry."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        reply = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            return f"HTTP {error.code} {error.reason}", error.code >= 500
        # Nothing beyond what is here: the file is whole, or of another length.
        reply = None
    except _ERRORS as error:
        return str(getattr(error, "reason", error)), False
    if reply is not None:
        with reply:
            resumed = reply.status == 206
            problem = _receive(reply, part, have if resumed else 0, quiet)
            if problem is not None:
                return problem, True
    got = _md5(part)
    if got == md5:
        return None, False
    part.unlink()
    return f"checksum {got}, expected {md5}", have > 0


def _receive(reply: http.client.HTTPResponse, part: Path, have: int, quiet: bool) -> str | None:
    """Append to the `have` bytes kept of `part`; what went wrong on the line, if anything did.

    Errors of the disk are raised as OSError.
    """
    length = reply.headers.get("Content-Length", "")
    total = have + int(length) if length.isdigit() else None
    with part.open("r+b" if have else "wb") as file, _Bar(part, have, total, quiet) as advance:
        file.seek(have)
        file.truncate()
        while True:
            try:
                block = reply.read(_BLOCK)
            except _ERRORS as error:
                return f"connection lost: {error}"
            if not block:
                break
            file.write(block)
            advance(len(block))
        if total is not None and file.tell() < total:
            return f"connection lost after {file.tell()} of {total} bytes"
    return None


class _Bar(AbstractContextManager[Callable[[int], None]]):
    """A progress bar for one file; on anything but a terminal nothing is drawn."""

    def __init__(self, part: Path, have: int, total: int | None, quiet: bool) -> None:
        self._progress = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.DownloadColumn(),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
            disable=quiet,
        )
        self._progress.disable |= not self._progress.console.is_terminal
        self._task = self._progress.add_task(part.stem, total=total, completed=have)

    def __enter__(self) -> Callable[[int], None]:
        self._progress.start()
        return lambda count: self._progress.advance(self._task, count)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
