"""`pycaffe_clr experiment pack`: finished runs as small files, with a page that lists them."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags of the command."""
    parser.description = (
        "Write runs that are through as small files: record, compressed log and tables, solver and "
        "net; and a page with tables of them. What is packed already is left as it is."
    )
    add = parser.add_argument
    add("names", nargs="*", metavar="SETTING", help="by name; * stands for anything; default: all")
    add(
        "--from",
        dest="source",
        type=Path,
        default=Path("runs/report"),
        metavar="DIR",
        help="where the runs lie (default: %(default)s)",
    )
    add(
        "--to",
        dest="target",
        type=Path,
        default=Path("solvers/results"),
        metavar="DIR",
        help="where the packed ones go (default: %(default)s)",
    )
    add("--partial", action="store_true", help="also runs that are not through; none counts them")


def main(args: argparse.Namespace) -> int:
    """Pack the runs and write the page. Raises ConfigError, DataError."""
    from pycaffe_clr.experiments.manifest import load
    from pycaffe_clr.experiments.pack import pack
    from pycaffe_clr.experiments.results_page import write_page

    found = pack(args.names, args.source, args.target, args.partial)
    for packed in found:
        name = f"{packed.run.setting}/{packed.run.plan}"
        tail = packed.reason or f"{packed.size / 1024:.0f} KB"
        print(f"{packed.state:<11}{name}: {tail}")
    counts = Counter(packed.state for packed in found)
    print(", ".join(f"{count} {state}" for state, count in counts.items()) or "nothing to pack")
    if counts["packed"] or counts["unchanged"]:
        print(write_page(args.target, load()))
    return 0
