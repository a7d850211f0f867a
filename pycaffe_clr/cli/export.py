"""`pycaffe_clr export`: a net and its weights as an ONNX file."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `pycaffe_clr export`."""
    parser.description = (
        "Write a net in the test phase as an ONNX model. Data layers become inputs; losses and "
        "accuracies are left out. Needs the package onnx: pip install 'pycaffe_clr[onnx]'."
    )
    add = parser.add_argument
    add("net", help="the net's prototxt; a deploy net needs no data")
    add("weights", help="a .caffemodel, or - for those that the net's fillers give")
    add("out", type=Path, metavar="OUT.onnx")
    add("--dynamic-batch", action="store_true", help="axis 0 may have any size")
    add("--level", type=int, default=0, help="the net's level")
    add("--stage", default="", help="the net's stages, separated by commas")
    add("--data-dir", help="where relative databases lie")
    add("-D", dest="defines", action="append", default=[], metavar="NAME=VALUE")


def main(args: argparse.Namespace) -> int:
    """Write the file. Raises ConfigError, DataError."""
    import logging

    from pycaffe_clr import TEST
    from pycaffe_clr.atomic import write_atomically
    from pycaffe_clr.catalog import find_net
    from pycaffe_clr.cli.messages import show_warnings
    from pycaffe_clr.export.onnx_file import onnx_bytes
    from pycaffe_clr.prototxt import parse_assignments
    from pycaffe_clr.pycaffe.net import Net

    show_warnings(logging.INFO)
    logging.getLogger("pycaffe_clr.export").setLevel(logging.INFO)
    net = Net(
        find_net(args.net),
        TEST,
        args.level,
        [stage for stage in args.stage.split(",") if stage],
        None if args.weights == "-" else args.weights,
        data_dir=args.data_dir,
        defines=parse_assignments(args.defines, "-D"),
    )
    write_atomically(args.out, [onnx_bytes(net, args.dynamic_batch)])
    print(args.out)
    return 0
