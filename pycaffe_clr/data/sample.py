"""12,000 real MNIST digits that ship with the package, so that a first run needs no download."""

from __future__ import annotations

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
PARTS = {"train": 2, "test": 1}
_LIMIT = 1 << 24


def read() -> tuple[Split, Split]:
    """The sample: 10,000 training and 2,000 test digits, all classes equally often."""
    return _read("train"), _read("test")


def _read(part: str) -> Split:
    names = [f"{part}-images-{i}.gz" for i in range(PARTS[part])] + [f"{part}-labels.gz"]
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
