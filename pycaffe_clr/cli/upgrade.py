"""`pycaffe_clr upgrade`: Caffe's upgrade_net_proto_text, upgrade_net_proto_binary and
upgrade_solver_proto_text in one."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the two files."""
    parser.description = (
        "Write a net, a solver (text) or a model with its weights (binary) of an old form in "
        "today's. Which of them a file is shows in its content. Comments in text are lost."
    )
    parser.add_argument("old", type=Path, help="the file to read")
    parser.add_argument("new", type=Path, help="the file to write")


def main(args: argparse.Namespace) -> int:
    """Upgrade the file. Raises ConfigError, DataError."""
    from pycaffe_clr.atomic import write_atomically
    from pycaffe_clr.cli.messages import show_warnings
    from pycaffe_clr.prototxt.upgrade_file import upgraded

    show_warnings(logging.INFO)
    logging.getLogger("pycaffe_clr").setLevel(logging.INFO)
    data, changed = upgraded(args.old)
    write_atomically(args.new, [data])
    print(f"wrote {args.new}" + ("" if changed else f" ({args.old} had today's form already)"))
    return 0
