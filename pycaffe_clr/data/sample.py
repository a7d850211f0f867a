"""12,000 real MNIST digits that ship with the package, so that a first run needs no download."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np

from pycaffe_clr.data import files, mnist
from pycaffe_clr.data.mnist import Split
from pycaffe_clr.errors import DataError

# What the lenet_sample nets name as their sources.
TRAIN_LMDB = Path("sample/mnist_train_lmdb")
TEST_LMDB = Path("sample/mnist_test_lmdb")
CACHE_VARIABLE = "PYCAFFE_CLR_CACHE"
FOLDER = Path(__file__).parent / "sample_mnist"
_PARTS = {"train": 2, "test": 1}
_PER_CLASS = {"train": 1000, "test": 200}
_SEED = 2018
_LIMIT = 1 << 24


def read() -> tuple[Split, Split]:
    """The sample: 10,000 training and 2,000 test digits, all classes equally often."""
    return _read("train"), _read("test")


def _read(part: str) -> Split:
    names = [f"{part}-images-{i}.gz" for i in range(_PARTS[part])] + [f"{part}-labels.gz"]
    arrays = []
    for path in (FOLDER / name for name in names):
        if not path.is_file():
            raise DataError(f"{path}: the sample is missing from this installation; reinstall")
        arrays.append(mnist.parse_idx(files.read_file(path, _LIMIT), str(path)))
    return mnist.make_split(np.concatenate(arrays[:-1]), arrays[-1], str(FOLDER))


def cache_dir() -> Path:
    """Where files that can be made again are kept: PYCAFFE_CLR_CACHE, else the user's cache."""
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE])
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pycaffe_clr"


def make_sample(root: Path | None = None) -> Path:
    """Have sample/mnist_train_lmdb and sample/mnist_test_lmdb beneath `root`; return `root`.

    root: by default `cache_dir()`. Databases that are there already are kept, so this costs
    nothing after the first time. Raises DataError if the folder cannot be written.
    """
    root = cache_dir() if root is None else root
    wanted = (root / TRAIN_LMDB, root / TEST_LMDB)
    if all((path / "data.mdb").is_file() for path in wanted):
        return root
    for path, split in zip(wanted, read(), strict=True):
        try:
            mnist.write_split(path, split, force=True)
        except DataError as error:
            raise DataError(f"{error} (set {CACHE_VARIABLE} to use another folder)") from error
    return root


def draw(train: Split, test: Split) -> tuple[Split, Split]:
    """The sample's digits out of the whole of MNIST: how those in the package were chosen.

    Equally many of each class, drawn without replacement by a fixed seed, in their published
    order.
    """
    return _draw(train, _PER_CLASS["train"]), _draw(test, _PER_CLASS["test"])


def _draw(split: Split, per_class: int) -> Split:
    generator = np.random.default_rng(_SEED)
    of_class = (np.flatnonzero(split.labels == digit) for digit in range(10))
    chosen = [generator.choice(digits, per_class, replace=False) for digits in of_class]
    taken = np.sort(np.concatenate(chosen))
    return Split(split.images[taken], split.labels[taken])


def write_files(train: Split, test: Split, folder: Path) -> None:
    """Write the files of the sample, as they lie in the package."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, split in (("train", train), ("test", test)):
        for i, block in enumerate(np.split(split.images[:, 0], _PARTS[part])):
            _write_idx(folder / f"{part}-images-{i}.gz", block)
        _write_idx(folder / f"{part}-labels.gz", split.labels)


def _write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    # gzip, though xz is 15 % smaller: some builds of Python come without the lzma module.
    path.write_bytes(gzip.compress(header + array.tobytes(), 9, mtime=0))
