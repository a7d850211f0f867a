"""`pycaffe_clr figures`: the report's figures from runs on disk."""

from __future__ import annotations

import argparse

from pycaffe_clr.experiments.figures import command
from pycaffe_clr.experiments.figures.album import numbers_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `pycaffe_clr figures`."""
    parser.description = (
        "Draw the report's figures from runs on disk: means, bands of one standard deviation, the "
        "author's own curves as thin lines. What has not been run is listed as that."
    )
    parser.add_argument("figures", nargs="+", metavar="1 ... 16|all", help="also ranges: 3-5")
    command.add_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Draw them; returns 0. Raises ConfigError, DataError."""
    return command.main(numbers_of(args.figures), args)
