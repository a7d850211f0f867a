"""`pycaffe_clr convert-imageset`: a database of pictures, as Caffe's convert_imageset makes it."""

from __future__ import annotations

import argparse
from pathlib import Path

from pycaffe_clr.cli.tool_flags import add_backend, add_flag, add_value, note


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of convert_imageset."""
    parser.description = "Write the pictures of a list to a database that Data layers read."
    parser.add_argument("root", metavar="ROOTFOLDER/", help="what stands before each path")
    parser.add_argument("list", metavar="LISTFILE", help="lines of `path label`")
    parser.add_argument("database", type=Path, metavar="DB_NAME", help="the folder to make")
    add_flag(parser, "gray", "one channel instead of three")
    add_flag(parser, "shuffle", "write them in another order than the list's")
    add_backend(parser, ("lmdb", "leveldb"), "the kind of database to make; default: lmdb")
    add_value(parser, "resize_width", 0, "width of all pictures; default: each its own")
    add_value(parser, "resize_height", 0, "height of all pictures")
    add_flag(parser, "check_size", "stop where pictures have different sizes")
    add_flag(parser, "encoded", "keep pictures compressed, as they are unless they must change")
    add_value(parser, "encode_type", "", "compress pictures as jpg, png, ...")
    ours = parser.add_argument_group("not in Caffe")
    ours.add_argument("--seed", type=int, default=1, help="of --shuffle; default 1")
    ours.add_argument("--threads", type=int, default=0, help="that decode; default: all cores")
    ours.add_argument("--force", action="store_true", help="replace a database that is there")


def main(args: argparse.Namespace) -> int:
    """Convert the list. Raises DataError where no picture of it can be read."""
    from pycaffe_clr.data.image_list import Conversion, convert, read_list, shuffled

    entries = read_list(args.list)
    if args.shuffle:
        entries = shuffled(entries, args.seed)
    note(f"A total of {len(entries)} images.")
    how = Conversion(
        gray=args.gray,
        height=max(0, args.resize_height),
        width=max(0, args.resize_width),
        check_size=args.check_size,
        encoded=args.encoded,
        encode_type=args.encode_type,
        threads=max(0, args.threads),
        backend=args.backend,
    )
    count = convert(args.root, entries, args.database, how, args.force, note)
    note(f"Processed {count} files.")
    return 0
