"""`pycaffe_clr draw`: a picture of a net, as Caffe's draw_net.py makes it."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of draw_net.py."""
    parser.description = (
        "Draw a net's layers and blobs: by graphviz where its program dot is installed, else by "
        "pycaffe_clr itself."
    )
    add = parser.add_argument
    add("net", help="a net's prototxt, or the name of one that ships")
    add("out", type=Path, help="the picture: .svg, .png, .pdf; .dot for graphviz's text")
    add("--rankdir", default="LR", help="where the net leads: LR (default), RL, TB or BT")
    add("--phase", default="ALL", choices=("TRAIN", "TEST", "ALL"), help="default: ALL layers")
    add("--display_lrm", action="store_true", help="show learning rate multipliers")
    add("-D", dest="defines", action="append", default=[], metavar="NAME=VALUE")


def main(args: argparse.Namespace) -> int:
    """Draw the net. Raises ConfigError, DataError."""
    from pycaffe_clr import TEST, TRAIN
    from pycaffe_clr.catalog import find_net
    from pycaffe_clr.draw import draw_net_to_file
    from pycaffe_clr.prototxt import parse_assignments, read_net

    net = read_net(find_net(args.net), parse_assignments(args.defines, "-D"))
    phase = {"TRAIN": TRAIN, "TEST": TEST}.get(args.phase)
    draw_net_to_file(net, args.out, args.rankdir, phase, args.display_lrm)
    print(args.out)
    return 0
