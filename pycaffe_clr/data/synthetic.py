"""Made-up sets of the shape of real ones, learnable, for trying every solver without a download.

Each class has a smooth pattern; a record is its class's pattern, shifted by a few pixels, of
varying strength, under noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pycaffe_clr.data import cifar, mean, mnist, writer
from pycaffe_clr.errors import ConfigError

_NOISE = 64  # noise is uniform over this many grey levels
_CHUNK_BYTES = 1 << 24


@dataclass(frozen=True)
class Likeness:
    """The shape of a real set and the paths under which Caffe's examples or the report have it."""

    shape: tuple[int, int, int]
    classes: int
    train: int
    test: int
    grid: int  # side of the coarse random grid that a class's pattern is drawn from
    shift: int  # largest shift in pixels, to each side
    key_digits: int
    train_lmdb: Path
    test_lmdb: Path
    mean_file: Path | None


def _like_cifar(kind: cifar.CifarSet) -> Likeness:
    paths = (kind.train_lmdb, kind.test_lmdb, kind.mean_file)
    return Likeness(cifar.SHAPE, kind.classes, 50000, 10000, 5, 2, cifar.KEY_DIGITS, *paths)


LIKE: dict[str, Likeness] = {
    "mnist": Likeness(
        (1, 28, 28), 10, 60000, 10000, 5, 2, mnist.KEY_DIGITS, mnist.TRAIN_LMDB, mnist.TEST_LMDB,
        None,
    ),
    "cifar10": _like_cifar(cifar.CIFAR10),
    "cifar100": _like_cifar(cifar.CIFAR100),
    # A real one has 1,281,167 + 50,000 records; the paths end as those of the report's nets do.
    "imagenet": Likeness(
        (3, 256, 256), 1000, 1000, 200, 6, 16, 8, Path("data/imagenet/train_lmdb"),
        Path("data/imagenet/val_lmdb"), Path("data/imagenet/imagenet_mean.binaryproto"),
    ),
}  # fmt: skip


def make_images(
    like: Likeness, count: int, seed: int, stream: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, C, H, W) uint8 and labels (count,), all classes about equally often.

    The patterns depend on `seed` only; shifts, noise and order also on `stream`, so that training
    and test set share the patterns and nothing else.
    """
    coarse = _coarse_patterns(like, seed)
    generator = np.random.default_rng([seed, 1 + stream])
    labels = generator.permutation(np.arange(count) % like.classes)
    images = np.empty((count, *like.shape), np.uint8)
    step = max(1, _CHUNK_BYTES // images[0].nbytes if count else 1)
    for first in range(0, count, step):
        block = images[first : first + step]
        _draw(block, labels[first : first + step], coarse, like, generator)
    return images, labels


def _coarse_patterns(like: Likeness, seed: int) -> np.ndarray:
    """(classes, C, grid, grid) float32 in 0..1."""
    generator = np.random.default_rng([seed, 0])
    shape = (like.classes, like.shape[0], like.grid, like.grid)
    return np.asarray(generator.random(shape, np.float32))


def _interpolation(size: int, grid: int) -> np.ndarray:
    """(size, grid) float32: weights of linear interpolation from a grid to `size` pixels."""
    position = np.linspace(0, grid - 1, size, dtype=np.float32)
    distance = np.abs(position[:, None] - np.arange(grid, dtype=np.float32))
    return np.asarray(np.maximum(0, 1 - distance))


def _draw(
    block: np.ndarray,
    labels: np.ndarray,
    coarse: np.ndarray,
    like: Likeness,
    generator: np.random.Generator,
) -> None:
    """Fill `block` with records of the classes `labels`, grouped by their shift for speed."""
    height, width = like.shape[1:]
    margin = 2 * like.shift
    rows = _interpolation(height + margin, like.grid)
    columns = _interpolation(width + margin, like.grid)
    top, left = generator.integers(0, margin + 1, (2, len(block)))
    strength = generator.uniform(0.5, 1.0, len(block)).astype(np.float32)
    scaled = coarse[labels] * ((255 - _NOISE) * strength)[:, None, None, None]
    noise = generator.integers(0, _NOISE, block.shape, np.uint8)
    for shift in range((margin + 1) ** 2):
        down, right = divmod(shift, margin + 1)
        chosen = np.flatnonzero((top == down) & (left == right))
        if len(chosen):
            smooth = rows[down : down + height] @ scaled[chosen] @ columns[right : right + width].T
            block[chosen] = smooth.astype(np.uint8) + noise[chosen]


def make(
    root: Path,
    name: str,
    train: int | None = None,
    test: int | None = None,
    seed: int = 1,
    force: bool = False,
) -> list[Path]:
    """Write a set like `name` (see LIKE) beneath `root`, its mean file included; return the paths.

    train, test: numbers of records, by default the real set's (for imagenet 1,000 and 200).
    Raises ConfigError for an unknown name or no records, DataError as `writer.write_records`.
    """
    if name not in LIKE:
        raise ConfigError(f"no set is like {name!r}; known: {', '.join(LIKE)}")
    like = LIKE[name]
    counts = (like.train if train is None else train, like.test if test is None else test)
    if min(counts) < 1:
        raise ConfigError(f"{name}: a set of {counts[0]} + {counts[1]} records is empty")
    targets = [root / like.train_lmdb, root / like.test_lmdb]
    if like.mean_file is not None:
        targets.append(root / like.mean_file)
    writer.check_free(targets, force)
    for stream, (path, count) in enumerate(zip(targets[:2], counts, strict=True)):
        images, labels = make_images(like, count, seed, stream)
        writer.write_records(path, images, labels, like.key_digits, force)
        if stream == 0 and like.mean_file is not None:
            mean.write_mean(targets[2], mean.mean_image(images), force)
    return targets
