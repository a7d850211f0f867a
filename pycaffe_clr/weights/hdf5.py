"""The HDF5 forms of Caffe's weights and solver states.

Weights: /data/<layer>/<index>, and /diff/<layer>/<index> with snapshot_diff. State: /iter,
/learned_net, /current_step, /history/<index>. A layer's name may hold slashes and is then a path
of groups. Indices are names and sort as text (0, 1, 10, 2): they are read as numbers.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pycaffe_clr.errors import DataError
from pycaffe_clr.weights.wire import Array

# h5py is imported where it is used: it takes a quarter of a second, and few runs read HDF5.

_Read = TypeVar("_Read")
_MAX_PARAMS = 1_000_000
# What deflate can at most expand to; a dataset that claims more than that is broken.
_MAX_RATIO = 1032


def read_weights(path: Path, diff: bool) -> dict[str, list[Array | None]]:
    """Arrays by layer, with None for indices that the file leaves out. Raises DataError."""

    def read(file: Any) -> dict[str, list[Array | None]]:
        top = "diff" if diff else "data"
        if top not in file:
            kind = "a solver state" if "history" in file else "no weights file of Caffe"
            raise DataError(f'{path}: has no group "{top}"; it is {kind}')
        return dict(_layers(_group(file, top, path), "", path))

    return _with_file(path, read)


def read_state(path: Path) -> tuple[int, str, list[Array], int]:
    """(iter, learned_net, history, current_step). Raises DataError."""

    def read(file: Any) -> tuple[int, str, list[Array], int]:
        if "iter" not in file or "history" not in file:
            kind = "holds weights" if "data" in file else "is something else"
            raise DataError(f"{path}: {kind}, expected a .solverstate.h5 (iter, history)")
        history = _numbered(_group(file, "history", path), path)
        if any(array is None for array in history):
            raise DataError(f"{path}: history has gaps in its numbering")
        whole = [array for array in history if array is not None]
        step = _integer(file, "current_step", path) if "current_step" in file else 0
        return _integer(file, "iter", path), _text(file, "learned_net", path), whole, step

    return _with_file(path, read)


def weights_image(
    names: Sequence[str],
    weights: Mapping[str, Sequence[Array | None]],
    diffs: Mapping[str, Sequence[Array | None]],
    shared: Collection[tuple[str, int]],
) -> bytes:
    """The bytes of an HDF5 weights file."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for top, arrays in (("data", weights), ("diff", diffs)):
            if top == "diff" and not diffs:
                continue
            group = file.create_group(top)
            for name in names:
                layer = group.require_group(name)
                for index, array in enumerate(arrays.get(name, ())):
                    if array is not None and (name, index) not in shared:
                        layer.create_dataset(str(index), data=np.asarray(array, np.float32))
    return buffer.getvalue()


def state_image(
    iteration: int, learned_net: str, history: Sequence[Array], current_step: int
) -> bytes:
    """The bytes of an HDF5 solver state."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, value in (("iter", iteration), ("current_step", current_step)):
            file.create_dataset(name, data=np.array([value], np.int32))
        # Caffe reads a string of fixed length with its closing zero.
        file.create_dataset("learned_net", data=np.bytes_(learned_net.encode() + b"\0"))
        group = file.create_group("history")
        for index, array in enumerate(history):
            group.create_dataset(str(index), data=np.asarray(array, np.float32))
    return buffer.getvalue()


def _with_file(path: Path, read: Callable[[Any], _Read]) -> _Read:
    """read(file) with everything that HDF5 raises for broken files turned into DataError."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return read(file)
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, MemoryError) as error:
        raise DataError(f"{path}: broken HDF5 file: {error}") from error


def _group(parent: Any, name: str, path: Path) -> Any:
    import h5py

    child = _child(parent, name, path)
    if not isinstance(child, h5py.Group):
        raise DataError(f'{path}: "{name}" is no group')
    return child


def _child(group: Any, name: str, path: Path) -> Any:
    """A member of a group; links out of the file are refused, as it may come from anyone."""
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise DataError(f'{path}: "{name}" is a link, expected data')
    return group[name]


def _layers(
    group: Any, prefix: str, path: Path, depth: int = 0
) -> Iterator[tuple[str, list[Array | None]]]:
    """(name, arrays) of the layers below a group."""
    import h5py

    if depth > 32:
        raise DataError(f"{path}: groups are nested more than 32 deep")
    for name in group:
        child = _child(group, name, path)
        if not isinstance(child, h5py.Group):
            continue
        arrays = _numbered(child, path)
        if arrays:
            yield prefix + name, arrays
        yield from _layers(child, f"{prefix}{name}/", path, depth + 1)


def _numbered(group: Any, path: Path) -> list[Array | None]:
    """The datasets of a group that are called 0, 1, 2, ..., in the order of these numbers."""
    import h5py

    found: dict[int, Array] = {}
    for name in group:
        if not (name.isdecimal() and name.isascii() and len(name) < 9):
            continue
        child = _child(group, name, path)
        if isinstance(child, h5py.Dataset):
            found[int(name)] = _array(child, path)
    if not found:
        return []
    if max(found) >= min(_MAX_PARAMS, 1000 + 10 * len(found)):
        raise DataError(f"{path}: {group.name} is numbered up to {max(found)}")
    return [found.get(index) for index in range(max(found) + 1)]


def _array(dataset: Any, path: Path) -> Array:
    _check_size(dataset, path)
    if dataset.dtype.kind not in "fiu":
        raise DataError(f"{path}: {dataset.name} holds {dataset.dtype}, expected numbers")
    return np.asarray(dataset[()], np.float32)


def _check_size(dataset: Any, path: Path) -> None:
    if dataset.shape is None:
        raise DataError(f"{path}: {dataset.name} is empty")
    if dataset.external or dataset.is_virtual:
        raise DataError(f"{path}: {dataset.name} keeps its values in another file")
    if dataset.nbytes > _MAX_RATIO * max(path.stat().st_size, 1024):
        raise DataError(
            f"{path}: {dataset.name} claims {dataset.nbytes} bytes, more than the file can hold"
        )


def _integer(file: Any, name: str, path: Path) -> int:
    values = _scalar(file, name, path)
    if values.dtype.kind not in "iu" or values.size != 1:
        raise DataError(f"{path}: {name} holds {values.dtype}, expected one whole number")
    value = int(values.reshape(-1)[0])
    if not 0 <= value < 2**31:
        raise DataError(f"{path}: {name} is {value}, expected 0 or more")
    return value


def _text(file: Any, name: str, path: Path) -> str:
    if name not in file:
        return ""
    values = _scalar(file, name, path)
    if values.size != 1:
        raise DataError(f"{path}: {name} is no single string")
    value = values.reshape(-1)[0]
    data = value if isinstance(value, bytes) else str(value).encode()
    return data.rstrip(b"\0").decode("utf-8", "backslashreplace")


def _scalar(file: Any, name: str, path: Path) -> Array:
    import h5py

    child = _child(file, name, path)
    if not isinstance(child, h5py.Dataset):
        raise DataError(f"{path}: {name} is no value")
    _check_size(child, path)
    return np.asarray(child[()])
