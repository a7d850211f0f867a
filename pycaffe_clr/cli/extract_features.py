"""`pycaffe_clr extract-features`: blobs of a net to databases, as Caffe's extract_features."""

from __future__ import annotations

import argparse
from pathlib import Path

from pycaffe_clr.cli.tool_flags import note


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of extract_features."""
    parser.description = (
        "Run a net in the test phase and write blobs to databases, one record of floats for each "
        "sample."
    )
    add = parser.add_argument
    add("weights", metavar="PRETRAINED_NET", help="a .caffemodel")
    add("model", metavar="NET", help="the net's prototxt, with its data layer")
    add("blobs", metavar="BLOB[,...]", help="what to extract")
    add("databases", metavar="DB[,...]", help="where to, one for each blob")
    add("batches", type=int, metavar="NUM_MINI_BATCHES")
    add("kind", nargs="?", default="lmdb", metavar="DB_TYPE", choices=("lmdb", "leveldb"),
        help="lmdb (default) or leveldb")  # fmt: skip
    add("mode", nargs="?", default="CPU", metavar="CPU/GPU", choices=("CPU", "GPU"))
    add("device", nargs="?", type=int, default=0, metavar="DEVICE_ID")
    ours = parser.add_argument_group("not in Caffe")
    ours.add_argument("--data-dir", help="where relative databases lie")
    ours.add_argument("--force", action="store_true", help="replace databases that are there")


def main(args: argparse.Namespace) -> int:
    """Extract the features. Raises ConfigError, DataError."""
    from pycaffe_clr.cli.messages import show_warnings
    from pycaffe_clr.pycaffe.features import extract
    from pycaffe_clr.pycaffe.settings import set_device, set_mode_gpu

    show_warnings()
    if args.mode == "GPU":
        set_mode_gpu()
        set_device(args.device)
    note(f"Using {args.mode}")
    blobs = args.blobs.split(",")
    databases = [Path(name) for name in args.databases.split(",")]
    extract(
        args.weights,
        args.model,
        blobs,
        databases,
        args.batches,
        backend=args.kind,
        data_dir=args.data_dir,
        force=args.force,
        report=note,
    )
    note("Successfully extracted the features!")
    return 0
