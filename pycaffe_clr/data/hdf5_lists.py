"""Records of HDF5Data layers: datasets of the HDF5 files that a list names, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pycaffe_clr.errors import DataError, shape_text


def read_lines(path: Path) -> list[str]:
    """The lines of a list that are not empty. Raises DataError."""
    try:
        lines = [line.strip() for line in path.read_text(errors="surrogateescape").splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from error
    lines = [line for line in lines if line]
    if not lines:
        raise DataError(f"{path}: the list is empty")
    return lines


class Hdf5Records:
    """The rows of some datasets, float32, file after file; after the last one from the start.

    names: of the datasets, each (rows, ..), which all files have in the same shapes. With a seed
    the files, and the rows of each, come in an order that changes from round to round, as Caffe's
    shuffle has it. One file is held in memory at a time. Raises DataError for what is missing,
    broken or unlike the first file.
    """

    def __init__(
        self, files: Sequence[Path], names: Sequence[str], seed: int | None = None
    ) -> None:
        self._files = list(files)
        self._names = list(names)
        self._seed = seed
        self.fields: dict[str, tuple[int, ...]] = {}
        self._rows = [self._look(path) for path in self._files]
        self._total = sum(self._rows)
        self._at = 0  # records handed out in this round
        self._round = 0
        self._loaded: tuple[int, int] | None = None  # round and file
        self._arrays: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return self._total

    @property
    def position(self) -> int:
        """Number of the record that the next batch begins with, in the round's order."""
        return self._at

    def seek(self, position: int) -> None:
        """Go on with that record, modulo their number."""
        self._at = position % self._total

    def next(self, count: int) -> dict[str, np.ndarray]:
        """The next rows of every dataset, (count, ..) float32."""
        batch = {name: np.empty((count, *shape), np.float32) for name, shape in self.fields.items()}
        done = 0
        while done < count:
            arrays, row = self._open()
            some = min(count - done, len(arrays[self._names[0]]) - row)
            for name, array in arrays.items():
                batch[name][done : done + some] = array[row : row + some]
            done += some
            self._at += some
            if self._at == self._total:
                self._at, self._round = 0, self._round + 1
        return batch

    def _open(self) -> tuple[dict[str, np.ndarray], int]:
        """The datasets of the file that holds the next record, and its row there."""
        order = list(range(len(self._files)))
        if self._seed is not None:
            order = list(np.random.default_rng((self._seed, self._round)).permutation(len(order)))
        row = self._at
        for file in order:
            if row < self._rows[file]:
                break
            row -= self._rows[file]
        if self._loaded != (self._round, file):
            self._arrays = self._load(file)
            self._loaded = self._round, file
        return self._arrays, row

    def _load(self, file: int) -> dict[str, np.ndarray]:
        arrays = self._with_file(
            self._files[file],
            lambda open_file: {
                name: np.asarray(open_file[name][()], np.float32) for name in self._names
            },
        )
        if self._seed is not None:
            random = np.random.default_rng((self._seed, self._round, file))
            order = random.permutation(self._rows[file])
            arrays = {name: array[order] for name, array in arrays.items()}
        return dict(arrays)

    def _look(self, path: Path) -> int:
        """A file's rows; keeps the shapes of the first one's, checks those of others."""
        rows: int = self._with_file(path, lambda file: self._check(path, file))
        return rows

    def _check(self, path: Path, file: Any) -> int:
        rows = set()
        for name in self._names:
            if name not in file or not hasattr(file[name], "dtype"):
                raise DataError(f"{path}: has no dataset '{name}', by which a top is named")
            data = file[name]
            if data.dtype.kind not in "fiub" or not data.shape:
                raise DataError(f"{path}: dataset '{name}' must hold rows of numbers")
            rows.add(int(data.shape[0]))
            shape = tuple(int(dim) for dim in data.shape[1:])
            if self.fields.setdefault(name, shape) != shape:
                raise DataError(
                    f"{path}: rows of dataset '{name}' are {shape_text(shape)}, those of "
                    f"{self._files[0]} {shape_text(self.fields[name])}"
                )
        if len(rows) != 1 or not min(rows):
            raise DataError(f"{path}: its datasets must have the same number of rows, 1 or more")
        return rows.pop()

    @staticmethod
    def _with_file(path: Path, use: Any) -> Any:
        import h5py  # takes a quarter of a second

        try:
            with h5py.File(path, "r") as file:
                return use(file)
        except DataError:
            raise
        except Exception as error:  # h5py raises many kinds for broken files
            raise DataError(f"{path}: cannot be read as HDF5: {error}") from error
