"""`pycaffe_clr compute-mean`: a database's mean image, as Caffe's compute_image_mean."""

from __future__ import annotations

import argparse
from pathlib import Path

from pycaffe_clr.cli.tool_flags import add_backend, note


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of compute_image_mean."""
    parser.description = "Compute the mean image of a database, and the mean of each channel."
    parser.add_argument("database", type=Path, metavar="INPUT_DB")
    parser.add_argument("out", type=Path, nargs="?", metavar="OUTPUT_FILE", help="a .binaryproto")
    add_backend(parser, ("lmdb", "leveldb"), "has no effect: the database shows what it is")


def main(args: argparse.Namespace) -> int:
    """Compute the mean. Raises DataError."""
    from pycaffe_clr.atomic import write_atomically
    from pycaffe_clr.data.mean import encode_mean, mean_of_source
    from pycaffe_clr.data.sources import open_source

    source = open_source(args.database)
    mean = mean_of_source(source)
    note(f"Processed {len(source)} files.")
    if args.out is not None:
        note(f"Write to {args.out}")
        write_atomically(args.out, [encode_mean(mean)])
    note(f"Number of channels: {len(mean)}")
    for channel, value in enumerate(mean.mean(axis=(1, 2), dtype=float)):
        note(f"mean_value channel [{channel}]: {value:.6g}")
    return 0
