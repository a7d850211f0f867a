"""What run.json says of a run beside its results: by which command, where, on which data."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycaffe_clr.train import positions

if TYPE_CHECKING:
    from pycaffe_clr._core import Net, RecordFeed

# Files up to this size are read whole for their checksum, of larger ones both ends.
_WHOLE = 1 << 20
_END = 1 << 18


def host() -> str:
    """The name of this machine."""
    return platform.node()


def peak_memory() -> int:
    """The most bytes that this process has held, all its runs together."""
    # Where the kernel tells: getrusage starts a process with the size of the one that started it.
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def git_commit(folder: Path) -> str | None:
    """The commit that is checked out in the git repository a folder lies in; None without one."""
    try:
        for place in (folder, *folder.parents):
            git = place / ".git"
            if git.is_file():
                # Of a worktree, or a submodule.
                git = place / git.read_text().partition("gitdir:")[2].strip()
            if git.is_dir():
                return _head(git)
    except (OSError, ValueError):
        pass
    return None


def _head(git: Path) -> str | None:
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref:"):
        return head or None
    reference = head.partition(":")[2].strip()
    common = git / "commondir"
    roots = [git, git / common.read_text().strip()] if common.is_file() else [git]
    for root in roots:
        if (root / reference).is_file():
            return (root / reference).read_text().strip()
        packed = root / "packed-refs"
        if packed.is_file():
            for line in packed.read_text().splitlines():
                commit, _, name = line.partition(" ")
                if name == reference:
                    return commit
    return None


def parameters(net: Net) -> int:
    """Learned parameters of a core net, BatchNorm's statistics among them."""
    rows = net.params()
    total = 0
    for index in net.learnable():
        count = 1
        for size in rows[index]["shape"]:
            count *= size
        total += count
    return total


def images(feeds: Mapping[str, RecordFeed]) -> int | None:
    """Records of the database that a train net reads; None where it reads none of known size.

    Where it reads several, the largest counts.
    """
    sizes = [positions.records_in(feed) for feed in feeds.values()]
    return max((size for size in sizes if size is not None), default=None)


def data(paths: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Where each database lies, by the name that the net has for it, and a checksum of it."""
    return [
        {"source": source, "path": str(path.absolute()), **checksum(path)}
        for source, path in paths.items()
    ]


def checksum(path: Path) -> dict[str, Any]:
    """Bytes and CRC-32 of a file, or of a folder's data.mdb; `crc32_of` says of how much of it.

    {} where it cannot be read.
    """
    if path.is_dir():
        path = path / "data.mdb"
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(0)
            if size <= _WHOLE:
                value, what = zlib.crc32(stream.read()), "the whole file"
            else:
                value = zlib.crc32(stream.read(_END))
                stream.seek(size - _END)
                value, what = zlib.crc32(stream.read(), value), "its first and last 256 KiB"
    except OSError:
        return {}
    return {"bytes": size, "crc32": f"{value:08x}", "crc32_of": what}
