"""`pycaffe_clr table`: the report's tables with our runs beside its numbers."""

from __future__ import annotations

import argparse

from pycaffe_clr.experiments.roots import add_roots

FORMATS = ("terminal", "markdown", "csv", "latex")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags of the command."""
    add = parser.add_argument
    add("table", type=int, choices=(1, 2), help="which table of the report")
    add("--format", choices=FORMATS, default="terminal", help="default: terminal, 80 columns")
    add_roots(parser)
    add(
        "--readings",
        action="store_true",
        help="CSV: also what else may have been run; the other formats show it always",
    )


def main(args: argparse.Namespace) -> int:
    """Print the table. Raises ConfigError, DataError."""
    from pycaffe_clr.cli.messages import say
    from pycaffe_clr.experiments.manifest import load
    from pycaffe_clr.experiments.store import open_store
    from pycaffe_clr.experiments.table_text import render
    from pycaffe_clr.experiments.tables import lines_of

    lines = lines_of(args.table, load(), open_store(args.roots))
    say(render(args.table, lines, args.format, args.readings))
    return 0
