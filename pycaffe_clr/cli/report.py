"""`pycaffe_clr report`: tables, figures and everything behind them on one HTML page."""

from __future__ import annotations

import argparse
from pathlib import Path

from pycaffe_clr.experiments.roots import add_roots


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `pycaffe_clr report`."""
    parser.description = (
        "Write one HTML page that needs nothing else: the report's tables and figures with our "
        "runs, its claims, what was assumed, every run and what it ran on."
    )
    add = parser.add_argument
    add(
        "--out", type=Path, default=Path("report.html"), metavar="FILE", help="default: report.html"
    )
    add_roots(parser)


def main(args: argparse.Namespace) -> int:
    """Write the page; returns 0. Raises DataError."""
    from pycaffe_clr.experiments import report_page
    from pycaffe_clr.experiments.figures.command import album_of

    size = report_page.write(args.out, album_of(args.roots))
    print(f"wrote {args.out}, {size / 1e6:.1f} MB")
    return 0
