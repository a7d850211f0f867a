"""`pycaffe_clr experiment claims`: what the report says, and whether the runs here show it."""

from __future__ import annotations

import argparse

from pycaffe_clr.cli.experiment_show import wrap
from pycaffe_clr.experiments.roots import add_roots


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `pycaffe_clr experiment claims`."""
    parser.description = (
        "Each statement of the report about its tables and figures, in our words: held, not held, "
        "or cannot say, where runs are missing or too few to tell. With the numbers."
    )
    add = parser.add_argument
    add("--table", action="append", type=int, default=[], choices=[1, 2], help="of a table")
    add("--figure", action="append", type=int, default=[], metavar="N", help="of a figure")
    add("--known", action="store_true", help="only what the runs decide")
    add_roots(parser)


def main(args: argparse.Namespace) -> int:
    """Print the verdicts; returns 0. Raises ConfigError for a figure that is none."""
    from pycaffe_clr.errors import ConfigError
    from pycaffe_clr.experiments.claims import check_claims, check_table_claims
    from pycaffe_clr.experiments.manifest import load
    from pycaffe_clr.experiments.store import open_store

    manifest, store = load(), open_store(args.roots)
    for number in args.figure:
        if number not in manifest.figures:
            raise ConfigError(f"figure {number} is none of the report's 1 to 16")
    every = not (args.table or args.figure)
    parts = [
        (f"Table {n}", check_table_claims(n, store))
        for n in (sorted(manifest.tables) if every else args.table)
    ] + [
        (f"Figure {n}: {manifest.figures[n].title}", check_claims(n, store))
        for n in (sorted(manifest.figures) if every else args.figure)
    ]
    count = {"held": 0, "not held": 0, "cannot say": 0}
    for title, verdicts in parts:
        shown = [v for v in verdicts if v.held is not None or not args.known]
        if shown:
            print(title)
        for verdict in verdicts:
            count[verdict.word] += 1
        for verdict in shown:
            for line in wrap(verdict.claim.says, f"  {verdict.word:<11}", " " * 13):
                print(line)
            for line in wrap(verdict.why, " " * 13):
                print(line)
    print(", ".join(f"{number} {word}" for word, number in count.items()))
    return 0
