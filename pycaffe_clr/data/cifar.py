"""CIFAR-10 and CIFAR-100 from the makers' binary and Python versions to Caffe's databases."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pycaffe_clr.data import files, mean, writer
from pycaffe_clr.data.mnist import Split
from pycaffe_clr.errors import DataError

SHAPE = (3, 32, 32)
_PIXELS = 3072
# convert_cifar_data.cpp: "%05d", records in the order of the files.
KEY_DIGITS = 5
_LIMIT = 1 << 28


@dataclass(frozen=True)
class CifarSet:
    """What tells CIFAR-10 and CIFAR-100 apart, and where Caffe and the report look for each."""

    name: str
    classes: int
    label_bytes: int  # before the pixels in the binary version; the last one is the label
    train_files: tuple[str, ...]
    test_file: str
    suffix: str
    label_key: bytes
    archives: tuple[str, ...]
    train_lmdb: Path
    test_lmdb: Path
    mean_file: Path

    @property
    def binary_names(self) -> list[str]:
        """Files of the binary version, the test set last."""
        return [name + self.suffix for name in (*self.train_files, self.test_file)]

    @property
    def python_names(self) -> list[str]:
        """Files of the Python version, the test set last."""
        return [*self.train_files, self.test_file]


CIFAR10 = CifarSet(
    "cifar10",
    10,
    1,
    tuple(f"data_batch_{i}" for i in range(1, 6)),
    "test_batch",
    ".bin",
    b"labels",
    ("cifar-10-binary.tar.gz", "cifar-10-python.tar.gz", "cifar-10-binary.tar"),
    Path("examples/cifar10/cifar10_train_lmdb"),
    Path("examples/cifar10/cifar10_test_lmdb"),
    Path("examples/cifar10/mean.binaryproto"),
)
CIFAR100 = CifarSet(
    "cifar100",
    100,
    2,
    ("train",),
    "test",
    ".bin",
    b"fine_labels",
    ("cifar-100-binary.tar.gz", "cifar-100-python.tar.gz", "cifar-100-binary.tar"),
    Path("data/cifar100/cifar100_train_lmdb"),
    Path("data/cifar100/cifar100_test_lmdb"),
    Path("data/cifar100/mean.binaryproto"),
)


def read(folder: Path, kind: CifarSet) -> tuple[Split, Split]:
    """Training and test set from the makers' files in `folder`, near below it, or its archive.

    folder may also be the archive itself. The binary version is preferred. CIFAR-100's labels are
    the fine ones. Raises DataError that names the missing or broken file.
    """
    for names, parse in ((kind.binary_names, _parse_binary), (kind.python_names, _parse_python)):
        try:
            get = files.reader(folder, names, _archives(kind, names), _LIMIT)
        except DataError:
            if not folder.is_file() or names is kind.python_names:
                raise
            continue  # an archive given by its own path: perhaps of the other version
        if get is not None:
            splits = [parse(get(name), f"{folder}: {name}", kind) for name in names]
            return _join(splits[:-1]), splits[-1]
    raise DataError(
        f"{folder}: expected the files of {kind.name}: {', '.join(kind.binary_names)} (or those "
        f"of the Python version, without {kind.suffix}), or one of {', '.join(kind.archives)}"
    )


def _archives(kind: CifarSet, names: list[str]) -> list[str]:
    version = "binary" if names[0].endswith(kind.suffix) else "python"
    return [name for name in kind.archives if version in name]


def _join(splits: list[Split]) -> Split:
    if len(splits) == 1:
        return splits[0]
    images, labels = zip(*splits, strict=True)
    return Split(np.concatenate(images), np.concatenate(labels))


def _checked(images: np.ndarray, labels: np.ndarray, name: str, kind: CifarSet) -> Split:
    if not len(images) or len(images) != len(labels):
        raise DataError(f"{name}: {len(images)} images and {len(labels)} labels")
    if not 0 <= labels.min() <= labels.max() < kind.classes:
        wrong = int(np.flatnonzero((labels < 0) | (labels >= kind.classes))[0])
        raise DataError(
            f"{name}: record {wrong} has the label {labels[wrong]}; "
            f"{kind.name} has 0 to {kind.classes - 1}"
        )
    return Split(images.reshape(-1, *SHAPE), labels)


def _parse_binary(data: bytes, name: str, kind: CifarSet) -> Split:
    record = kind.label_bytes + _PIXELS
    if not data or len(data) % record:
        raise DataError(
            f"{name}: {len(data)} bytes are no whole number of records of {record} bytes; "
            "the file is truncated or of another set"
        )
    rows = np.frombuffer(data, np.uint8).reshape(-1, record)
    return _checked(rows[:, kind.label_bytes :], rows[:, kind.label_bytes - 1], name, kind)


def _parse_python(data: bytes, name: str, kind: CifarSet) -> Split:
    batch = unpickle(data, name)
    labels = batch.get(kind.label_key, batch.get(kind.label_key.decode()))
    pixels = batch.get(b"data", batch.get("data"))
    if not isinstance(pixels, _Array) or labels is None:
        raise DataError(
            f"{name}: expected a batch with 'data' and '{kind.label_key.decode()}', "
            f"found {sorted(map(str, batch))}"
        )
    try:
        images = pixels.to_numpy()
        values = labels.to_numpy() if isinstance(labels, _Array) else np.array(labels, np.int64)
        return _checked(images.reshape(-1, _PIXELS), values.reshape(-1), name, kind)
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{name}: not a batch of {kind.name}: {error}") from error


class _Array:
    """Stands in for numpy.ndarray while a pickle is read, and only keeps what it was told."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def to_numpy(self) -> np.ndarray:
        """The array, if it is one of plain integers; ValueError otherwise."""
        _, shape, dtype, fortran, raw = self.state
        if not isinstance(dtype, _Dtype) or dtype.code not in ("u1", "i4", "i8"):
            raise ValueError(f"array of type {getattr(dtype, 'code', dtype)}")
        array = np.frombuffer(raw, dtype.code)
        return array.reshape(shape, order="F" if fortran else "C")


class _Dtype:
    def __init__(self, code: Any = "", *_: Any) -> None:
        self.code = code.decode("latin1") if isinstance(code, bytes) else str(code)

    def __setstate__(self, state: Any) -> None:
        """Byte order and the like: the codes read above are little-endian as they stand."""


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """Python 3 writes bytes this way in the old pickle protocols."""
    return str(text).encode("latin1")


def _frombuffer(raw: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> _Array:
    """How numpy pickles an array in protocol 5."""
    array = _Array()
    array.state = (1, shape, dtype, order == "F", bytes(raw))
    return array


class _Unpickler(pickle.Unpickler):
    """Reads the makers' batches and nothing else: a pickle can otherwise run any function."""

    _ALLOWED = {
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy._core.multiarray", "_reconstruct"): _Array,
        ("numpy.core.numeric", "_frombuffer"): _frombuffer,
        ("numpy._core.numeric", "_frombuffer"): _frombuffer,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Dtype,
        ("_codecs", "encode"): _encode,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no batch needs")
        return self._ALLOWED[module, name]


def unpickle(data: bytes, name: str) -> dict[Any, Any]:
    """The dictionary in a pickled batch; DataError if it holds anything but plain values."""
    try:
        batch = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except Exception as error:  # the pickle decides which; memory and recursion errors included
        raise DataError(f"{name}: not a batch of CIFAR's Python version: {error}") from error
    if not isinstance(batch, dict):
        raise DataError(f"{name}: expected a dictionary, found {type(batch).__name__}")
    return batch


def write(root: Path, kind: CifarSet, train: Split, test: Split, force: bool = False) -> list[Path]:
    """Write both databases and the mean of the training images beneath `root`."""
    targets = [root / kind.train_lmdb, root / kind.test_lmdb, root / kind.mean_file]
    writer.check_free(targets, force)
    writer.write_records(targets[0], train.images, train.labels, KEY_DIGITS, force)
    writer.write_records(targets[1], test.images, test.labels, KEY_DIGITS, force)
    mean.write_mean(targets[2], mean.mean_image(train.images), force)
    return targets
