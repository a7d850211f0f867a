"""--root, the same in each command that reads runs: the folders where they lie."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_roots(parser: argparse.ArgumentParser) -> None:
    """Declare --root; store.open_store takes its value, `roots`: a list of folders, or None."""
    parser.add_argument(
        "--root",
        dest="roots",
        type=Path,
        action="append",
        metavar="DIR",
        help="where runs lie, as DIR/SETTING/run1 ...; repeat it for more (default: runs/report "
        "and the packed results that ship)",
    )
