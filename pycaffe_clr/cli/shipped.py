"""`pycaffe_clr list`: what ships with the package."""

from __future__ import annotations

import argparse
import shutil
import textwrap

from pycaffe_clr import catalog


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `pycaffe_clr list`."""
    parser.description = "Names that `run` and `show` take, with what each is."
    parser.add_argument("--nets", action="store_true", help="nets instead of solvers")
    parser.add_argument("part", nargs="?", default="", help="only names with this in them")


def main(args: argparse.Namespace) -> int:
    """Print the names; returns 0."""
    found = catalog.nets() if args.nets else catalog.solvers()
    names = {name: text for name, text in found.items() if args.part in name}
    if not names:
        what = "nets" if args.nets else "solvers"
        print(f"no {what} with {args.part!r} in their names")
        return 0
    width = min(max(map(len, names)), 36)
    room = max(30, shutil.get_terminal_size((100, 24)).columns - width - 3)
    for name, text in names.items():
        lines = textwrap.wrap(text, room) or [""]
        print(f"{name:<{width}}  {lines[0]}")
        for line in lines[1:]:
            print(f"{'':<{width}}  {line}")
    return 0
