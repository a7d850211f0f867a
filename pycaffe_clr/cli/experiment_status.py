"""`pycaffe_clr experiment status`: how far the runs of the report's settings are."""

from __future__ import annotations

import argparse
from pathlib import Path

from pycaffe_clr.cli.experiment import add_selection, selection_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `pycaffe_clr experiment status`."""
    parser.description = (
        "For each setting that was begun: runs that are finished, of those planned; which are "
        "running, with their iteration and the time left; which were stopped or killed and can go "
        "on by `experiment run`; which failed or diverged."
    )
    add_selection(parser)
    parser.add_argument("--root", type=Path, metavar="DIR", help="default: runs/report")
    parser.add_argument("--all", action="store_true", help="settings without any run, too")


def main(args: argparse.Namespace) -> int:
    """Print the lines; returns 0."""
    from pycaffe_clr.experiments.manifest import load
    from pycaffe_clr.experiments.selection import select
    from pycaffe_clr.experiments.status import lines, progress
    from pycaffe_clr.experiments.store import RUNS, open_store

    if args.root is not None:
        open_store([args.root])
    settings = select(load(), selection_of(args))
    print("\n".join(lines(progress(settings, args.root or RUNS), args.all)))
    return 0
