"""The flags of the figures, the same for `pycaffe_clr figures` and for each figure as a script."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pycaffe_clr.errors import DataError, PycaffeClrError
from pycaffe_clr.experiments.figures import sheet
from pycaffe_clr.experiments.figures.album import Album
from pycaffe_clr.experiments.figures.curves import Curves
from pycaffe_clr.experiments.figures.readings import readings_of
from pycaffe_clr.experiments.roots import add_roots


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags that all figures share."""
    add = parser.add_argument
    add("--out", type=Path, default=Path("figures"), metavar="DIR", help="default: figures")
    add("--format", choices=sheet.FORMATS, default="png", help="default: png")
    add_roots(parser)
    add(
        "--readings",
        action="store_true",
        help="also what the report may have drawn where its sources differ: fig14-2 and so on",
    )
    add("--no-caption", action="store_true", help="leave the caption to the text around it")
    add("--launch", action="store_true", help="make the runs that are missing first")
    add(
        "--scale",
        type=_scale,
        default=1.0,
        metavar="S",
        help="runs shortened to this part, e.g. 0.02, in a folder of their own; with --launch "
        "they are made, on small data",
    )
    add("--data-dir", type=Path, metavar="DIR", help="with --launch: where the databases lie")


def album_of(roots: Sequence[Path] | None = None, scale: float = 1.0) -> Album:
    """The manifest over the runs in these folders, or in the usual ones. Raises DataError."""
    from pycaffe_clr.experiments import author
    from pycaffe_clr.experiments.manifest import load
    from pycaffe_clr.experiments.store import Store, default_roots, open_store

    if roots:
        store = open_store(roots)
    else:
        store = Store(default_roots() if scale == 1 else [_default_root(scale)])
    manifest = load()
    return Album(manifest, Curves(manifest.settings, store, author.load, scale))


def _default_root(scale: float) -> Path:
    from pycaffe_clr.experiments.scale import default_root
    from pycaffe_clr.experiments.store import RUNS

    return default_root(RUNS, scale)


def _launch(numbers: Sequence[int], args: argparse.Namespace) -> int:
    """Make the runs that these figures lack; returns the exit code of the queue."""
    from pycaffe_clr.experiments.manifest import load
    from pycaffe_clr.experiments.queue import exit_code, run_settings

    manifest = load()
    figures = [manifest.figures[number] for number in numbers]
    if args.readings:
        figures += [f for number in numbers for f in readings_of(manifest, number).values()]
    names = dict.fromkeys(name for figure in figures for name in figure.settings)
    if not names:
        return 0
    root = args.roots[0] if args.roots else None
    scale = None if args.scale == 1 else args.scale
    try:
        return exit_code(run_settings(names, root, scale=scale, data_dir=args.data_dir))
    except DataError as error:
        # What is on disk is drawn all the same.
        print(f"error: {error}", file=sys.stderr)
        return 1


def main(numbers: Sequence[int], args: argparse.Namespace) -> int:
    """Draw these figures into files; returns 0, 1 where a run that --launch wanted failed.

    Raises ConfigError, DataError.
    """
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"--out {args.out}: cannot be made: {error.strerror}") from error
    code = _launch(numbers, args) if args.launch else 0
    album = album_of(args.roots, args.scale)
    for number in numbers:
        others = album.readings(number) if args.readings else {}
        for place, (words, drawn) in enumerate([("", album), *others.items()]):
            name = f"fig{number:02d}-{place + 1}" if place else f"fig{number:02d}"
            path = args.out / f"{name}.{args.format}"
            sheet.save(drawn.sheet(number, caption=not args.no_caption), path)
            print(f"wrote {path}{_told(drawn, number, words)}")
    return code


def script(number: int, arguments: Sequence[str] | None = None) -> int:
    """One figure as a program; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog=f"fig{number:02d}",
        description=f"Draw Figure {number} of the report from runs on disk.",
        allow_abbrev=False,
    )
    add_arguments(parser)
    try:
        return main([number], parser.parse_args(arguments))
    except PycaffeClrError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _told(album: Album, number: int, reading: str) -> str:
    curves = album.drawn(number)
    if not curves:
        return ""
    there = [c for c in curves if not c.missing]
    few = sum(c.n < c.planned for c in there)
    said = f": {reading}: " if reading else ": "
    said += f"{len(there)} of {len(curves)} curves have runs"
    return said + (f", {few} of them fewer than planned" if few else "")


def _scale(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0, at most 1, got {word!r}")
    return value
