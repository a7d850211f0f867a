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
    """A published file: its name, its checksums, and the addresses where it lies."""

    name: str
    md5: str
    sha256: str
    urls: tuple[str, ...]


# Encrypted addresses first: the makers' own of MNIST is neither encrypted nor always there.
_MNIST = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)
_CIFAR = ("https://www.cs.toronto.edu/~kriz/",)


def _remote(name: str, md5: str, sha256: str, folders: tuple[str, ...]) -> RemoteFile:
    return RemoteFile(name, md5, sha256, tuple(folder + name for folder in folders))


# MD5 as the makers or their mirrors list it. SHA-256 of MNIST's labels and test images was computed
# from the files that have this MD5; for the other three it is the one that is listed publicly
# together with this name, size and MD5.
FILES: dict[str, tuple[RemoteFile, ...]] = {
    "mnist": (
        _remote(
            "train-images-idx3-ubyte.gz",
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            _MNIST,
        ),
        _remote(
            "train-labels-idx1-ubyte.gz",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            _MNIST,
        ),
        _remote(
            "t10k-images-idx3-ubyte.gz",
            "9fb629c4189551a2d022fa330f9573f3",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            _MNIST,
        ),
        _remote(
            "t10k-labels-idx1-ubyte.gz",
            "ec29112dd5afa0611ce80d1b7f02629c",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            _MNIST,
        ),
    ),
    "cifar10": (
        _remote(
            "cifar-10-binary.tar.gz",
            "c32a1d4ab5d03f1284b67883e8d87530",
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            _CIFAR,
        ),
    ),
    "cifar100": (
        _remote(
            "cifar-100-binary.tar.gz",
            "03b5dce01913d631647c71ecec9e9cb8",
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
            _CIFAR,
        ),
    ),
}


def fetch(file: RemoteFile, folder: Path, quiet: bool = False) -> Path:
    """Have `file` in `folder`, downloading what is not there yet; return its path.

    An unfinished download lies beside it as NAME.part and is continued. A progress bar is shown
    on a terminal unless `quiet`. Raises DataError when no address delivers the right bytes or the
    disk is full, listing what each address said.
    """
    target = folder / file.name
    if target.is_file() and _difference(target, file) is None:
        return target
    part = target.with_name(target.name + ".part")
    said: list[str] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for url in file.urls:
            for _ in range(_TRIES):
                problem, again = _attempt(url, file, part, quiet)
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


def _attempt(url: str, file: RemoteFile, part: Path, quiet: bool) -> tuple[str | None, bool]:
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
    difference = _difference(part, file)
    if difference is None:
        return None, False
    part.unlink()
    # A part kept from before may have been another file's.
    return difference, have > 0


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


def _difference(path: Path, file: RemoteFile) -> str | None:
    """How a file's checksums differ from the published ones; None if they do not."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            md5.update(block)
            sha256.update(block)
    for kind, got, expected in (
        ("SHA-256", sha256.hexdigest(), file.sha256),
        ("MD5", md5.hexdigest(), file.md5),
    ):
        if got != expected:
            return f"checksum {kind} {got}, expected {expected}"
    return None
