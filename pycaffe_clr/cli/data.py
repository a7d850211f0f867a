"""`pycaffe_clr data`: make the databases and mean files that the solvers' nets name."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from pycaffe_clr.data import cifar, download, mnist, sample, synthetic
from pycaffe_clr.errors import ConfigError, DataError

Splits = tuple[mnist.Split, mnist.Split]
_CIFAR = {"cifar10": cifar.CIFAR10, "cifar100": cifar.CIFAR100}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sets and options of `pycaffe_clr data`."""
    parser.description = (
        "Write LMDB databases and mean files where Caffe's examples put them beneath --root. "
        "Without --from, the makers' files are looked for in ROOT/data/SET and else downloaded "
        "to there."
    )
    parser.add_argument("set", choices=["mnist", "cifar10", "cifar100", "synthetic", "folder"])
    parser.add_argument(
        "pictures", type=Path, nargs="?", metavar="DIR",
        help="folder: a sub-folder of pictures for each class, or train/ and test/ of such; makes "
        "ROOT/DIR_data with databases, mean, labels, a net and a solver",
    )  # fmt: skip
    parser.add_argument("--size", default="64", metavar="N|HxW", help="folder: default 64")
    parser.add_argument("--gray", action="store_true", help="folder: one channel")
    parser.add_argument(
        "--test-share", type=float, default=0.2, metavar="F",
        help="folder: share of pictures to test with where it has no test/; default 0.2",
    )  # fmt: skip
    parser.add_argument("--root", type=Path, default=Path(), help="default: here")
    parser.add_argument(
        "--from",
        dest="folder",
        type=Path,
        metavar="DIR",
        help="folder (or archive) with the makers' files: idx, CIFAR's binary or Python version, "
        "plain, .gz or .tar.gz",
    )
    parser.add_argument(
        "--sample",
        action="store_true",
        help="mnist: the 10,000 + 2,000 real digits in this package; no download",
    )
    parser.add_argument(
        "--like", choices=list(synthetic.LIKE), help="synthetic: the set whose shape to take"
    )
    parser.add_argument("--train", type=int, metavar="N", help="synthetic: training records")
    parser.add_argument("--test", type=int, metavar="N", help="synthetic: test records")
    parser.add_argument("--seed", type=int, default=1, help="synthetic, folder: default 1")
    parser.add_argument("--force", action="store_true", help="replace what is there")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def main(args: argparse.Namespace) -> int:
    """Make what `args` name; raises ConfigError or DataError, returns 0."""
    _check(args)
    if args.set == "folder":
        return _folder(args)
    if args.set == "synthetic":
        paths = synthetic.make(
            args.root, args.like, args.train, args.test, args.seed, force=args.force
        )
    elif args.set == "mnist":
        splits = sample.read() if args.sample else _read(args, mnist.read)
        paths = mnist.write(args.root, *splits, force=args.force)
    else:
        kind = _CIFAR[args.set]
        splits = _read(args, lambda folder: cifar.read(folder, kind))
        paths = cifar.write(args.root, kind, *splits, force=args.force)
    for path in paths:
        print(f"wrote {path}")
    return 0


def _folder(args: argparse.Namespace) -> int:
    """Databases, net and solver of a folder of pictures."""
    from pycaffe_clr.cli.tool_flags import note
    from pycaffe_clr.data import folder
    from pycaffe_clr.data.image_list import Conversion

    sides = args.size.split("x")
    if len(sides) > 2 or not all(side.isdecimal() and 0 < int(side) < 1 << 16 for side in sides):
        raise ConfigError(f"--size must be N or HxW in pixels, not {args.size!r}")
    how = Conversion(args.gray, int(sides[0]), int(sides[-1]))
    out = args.root / f"{args.pictures.resolve().name}_data"
    paths = folder.make(args.pictures, out, how, args.test_share, args.seed, args.force, note)
    for path in paths:
        print(f"wrote {path}")
    print(f"train with: pycaffe_clr run {paths[-1]}")
    return 0


def _check(args: argparse.Namespace) -> None:
    if (args.pictures is None) == (args.set == "folder"):
        raise ConfigError("give a folder of pictures to `data folder DIR`, and to no other set")
    made_up = args.set == "synthetic"
    if made_up and args.like is None:
        raise ConfigError(f"data synthetic: say --like {'|'.join(synthetic.LIKE)}")
    if not made_up and (args.like or args.train or args.test):
        raise ConfigError(f"data {args.set}: --like, --train and --test belong to `data synthetic`")
    if args.sample and args.set != "mnist":
        raise ConfigError(f"data {args.set}: only mnist has a --sample")
    if args.folder is not None and (made_up or args.sample):
        raise ConfigError(f"data {args.set}: --from does not go with --sample or synthetic")
    if args.folder is not None and not args.folder.exists():
        raise DataError(f"--from {args.folder}: no such folder")


def _read(args: argparse.Namespace, read: Callable[[Path], Splits]) -> Splits:
    """The set from the folder that the user named, or from ROOT/data/SET, fetched if need be."""
    if args.folder is not None:
        return read(args.folder)
    folder = Path(args.root) / "data" / args.set
    try:
        return read(folder)
    except DataError:
        for file in download.FILES[args.set]:
            download.fetch(file, folder, quiet=args.quiet)
    return read(folder)
