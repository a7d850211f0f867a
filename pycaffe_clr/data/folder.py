"""A folder with one sub-folder of pictures for each class, made into databases and their net."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pycaffe_clr.atomic import write_atomically
from pycaffe_clr.data import image_list, mean, starter, writer
from pycaffe_clr.data.image_list import Conversion, Entry
from pycaffe_clr.data.sources import LmdbSource
from pycaffe_clr.errors import ConfigError, DataError

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
_TRAIN, _TEST = ("train", "training"), ("test", "val", "valid", "validation")


@dataclass(frozen=True)
class FolderSet:
    """classes: their names in the order of the labels; train, test: pictures, as absolute paths."""

    classes: list[str]
    train: list[Entry]
    test: list[Entry]


def read_folder(folder: Path, test_share: float = 0.2, seed: int = 1) -> FolderSet:
    """The classes and pictures of a folder.

    A folder of `train` and `test` (or `val`), each with the classes in it, is split already;
    otherwise test_share of each class, at least one picture, drawn by `seed`, are test pictures.
    Sub-folders of a class count as part of it. Raises DataError where there are no two classes
    with pictures.
    """
    if not 0 < test_share < 1:
        raise ConfigError(f"the share of test pictures must lie between 0 and 1, not {test_share}")
    names = {each.name.lower(): each for each in _folders(folder)}
    train = next((names[name] for name in _TRAIN if name in names), None)
    test = next((names[name] for name in _TEST if name in names), None)
    if train is not None and test is not None and len(names) == 2:
        classes = _classes(train)
        others = set(_classes(test)) - set(classes)
        if others:
            raise DataError(f"{test}: has classes that {train} lacks: {', '.join(sorted(others))}")
        return FolderSet(classes, _entries(train, classes), _entries(test, classes))
    classes = _classes(folder)
    whole = _entries(folder, classes)
    kept: tuple[list[Entry], list[Entry]] = ([], [])
    for label, name in enumerate(classes):
        own = [entry for entry in whole if entry.label == label]
        if len(own) < 2:
            raise DataError(
                f"{folder / name}: one picture cannot be split; at least two are needed"
            )
        count = min(max(1, round(test_share * len(own))), len(own) - 1)
        drawn = set(np.random.default_rng([seed, label]).permutation(len(own))[:count].tolist())
        for index, entry in enumerate(own):
            kept[index in drawn].append(entry)
    return FolderSet(classes, *kept)


def _folders(folder: Path) -> list[Path]:
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror or error}") from error
    return [each for each in found if each.is_dir() and not each.name.startswith(".")]


def _pictures(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURES and p.is_file())


def _classes(folder: Path) -> list[str]:
    classes = [each.name for each in _folders(folder) if _pictures(each)]
    if len(classes) < 2:
        raise DataError(
            f"{folder}: expected a sub-folder of pictures for each of two or more classes, found "
            f"{', '.join(classes) or 'none'}"
        )
    return classes


def _entries(folder: Path, classes: Sequence[str]) -> list[Entry]:
    return [
        Entry(str(path.resolve()), label)
        for label, name in enumerate(classes)
        for path in _pictures(folder / name)
    ]


def make(
    folder: Path,
    out: Path,
    how: Conversion,
    test_share: float = 0.2,
    seed: int = 1,
    force: bool = False,
    report: Callable[[str], None] | None = None,
) -> list[Path]:
    """Write databases, mean, labels.txt, a net and its solver to `out`; returns their paths.

    how: the size of all pictures, and whether they are gray. Raises DataError as read_folder and
    image_list.convert, and where something is there already (unless `force`).
    """
    found = read_folder(folder, test_share, seed)
    names = ("train_lmdb", "test_lmdb", "mean.binaryproto", "labels.txt", "net.prototxt")
    # The net finds its databases wherever it is trained from.
    out = out.resolve()
    paths = [out / name for name in (*names, "solver.prototxt")]
    writer.check_free(paths, force)
    train_db, test_db, mean_file, labels, net, solver = paths
    train = image_list.shuffled(found.train, seed)
    counts = [
        image_list.convert("", entries, database, how, force, report)
        for entries, database in ((train, train_db), (found.test, test_db))
    ]
    source = LmdbSource(train_db, hold_limit=0)
    mean.write_mean(mean_file, mean.mean_of_source(source), force)
    write_atomically(labels, ["".join(f"{name}\n" for name in found.classes).encode()])
    start = starter.Starter(out.name, len(found.classes), *source.shape, *counts)
    write_atomically(net, [start.net(train_db, test_db, mean_file).encode()])
    write_atomically(solver, [start.solver(net).encode()])
    return paths
