"""How the digits of the package's sample were drawn from MNIST, and its files written.

python tests/make_sample.py FOLDER_OF_MNIST FOLDER_TO_WRITE
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np

from pycaffe_clr.data import mnist, sample
from pycaffe_clr.data.mnist import Split

_PER_CLASS = {"train": 1000, "test": 200}
_SEED = 2018


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
        for i, block in enumerate(np.split(split.images[:, 0], sample.PARTS[part])):
            _write_idx(folder / f"{part}-images-{i}.gz", block)
        _write_idx(folder / f"{part}-labels.gz", split.labels)


def _write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    # gzip, though xz is 15 % smaller: some builds of Python come without the lzma module.
    path.write_bytes(gzip.compress(header + array.tobytes(), 9, mtime=0))


if __name__ == "__main__":
    write_files(*draw(*mnist.read(Path(sys.argv[1]))), Path(sys.argv[2]))
