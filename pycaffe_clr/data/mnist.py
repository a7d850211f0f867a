"""MNIST from its idx files to the databases of Caffe's examples."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from pycaffe_clr.data import files, writer
from pycaffe_clr.errors import DataError, shape_text

# convert_mnist_data.cpp: "%08d".
KEY_DIGITS = 8
TRAIN_LMDB = Path("examples/mnist/mnist_train_lmdb")
TEST_LMDB = Path("examples/mnist/mnist_test_lmdb")
NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_BELOW = ("mnist", "MNIST/raw", "raw", "data/mnist")
_LIMIT = 1 << 28


class Split(NamedTuple):
    """Images (N, C, H, W) uint8 and labels (N,) uint8 of a training or a test set."""

    images: np.ndarray
    labels: np.ndarray


def parse_idx(data: bytes, name: str) -> np.ndarray:
    """The array of uint8 that an idx file holds; DataError when header and size do not agree."""
    dims = data[3] if len(data) >= 4 else 0
    if data[:3] != b"\0\0\x08" or not dims or len(data) < 4 + 4 * dims:
        raise DataError(f"{name}: not an idx file of bytes: it begins with {data[:4].hex(' ')}")
    shape = tuple(np.frombuffer(data, ">u4", dims, 4).tolist())
    size = 1
    for dim in shape:
        size *= dim
    if size != len(data) - 4 - 4 * dims:
        raise DataError(
            f"{name}: the idx header announces {shape_text(shape)} bytes, "
            f"{len(data) - 4 - 4 * dims} follow; the file is truncated or damaged"
        )
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dims).reshape(shape)


def make_split(images: np.ndarray, labels: np.ndarray, name: str) -> Split:
    """Check that images (N, H, W) and labels (N,) of digits belong together."""
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels) or not images.size:
        raise DataError(f"{name}: images of shape {images.shape}, labels of {labels.shape}")
    if labels.max() > 9:
        raise DataError(f"{name}: record {int(labels.argmax())} has the label {labels.max()}")
    return Split(images[:, None], labels)


def read(folder: Path) -> tuple[Split, Split]:
    """Training and test set from the four idx files, plain or .gz, in `folder` or near below it.

    Raises DataError that names the missing or broken file.
    """
    arrays = []
    for name in NAMES:
        dotted = name.replace("-idx", ".idx")
        path = files.find(folder, (name, name + ".gz", dotted, dotted + ".gz"), _BELOW)
        if path is None:
            raise DataError(f"{folder}: expected MNIST's file {name} or {name}.gz")
        arrays.append(parse_idx(files.read_file(path, _LIMIT), str(path)))
    train = make_split(arrays[0], arrays[1], f"{folder}: training set")
    return train, make_split(arrays[2], arrays[3], f"{folder}: test set")


def write_split(path: Path, split: Split, force: bool = False) -> None:
    """Write one database of digits at `path`, as convert_mnist_data does."""
    writer.write_records(path, split.images, split.labels, KEY_DIGITS, force)


def write(root: Path, train: Split, test: Split, force: bool = False) -> list[Path]:
    """Write both databases beneath `root`, where examples/mnist/create_mnist.sh puts them."""
    targets = [root / TRAIN_LMDB, root / TEST_LMDB]
    writer.check_free(targets, force)
    for path, split in zip(targets, (train, test), strict=True):
        write_split(path, split, force)
    return targets
