"""`pycaffe_clr parse-log`: a log as two CSV files, as Caffe's parse_log.py writes them."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of parse_log.py."""
    parser.description = (
        "Write a training log's outputs to OUTPUT_DIR/LOG.train and OUTPUT_DIR/LOG.test."
    )
    parser.add_argument("logfile_path", help="a log of any Caffe")
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("--verbose", action="store_true", help="name the files that are written")
    parser.add_argument("--delimiter", default=",", help="between columns; default: a comma")


def main(args: argparse.Namespace) -> int:
    """Write the tables. Raises ConfigError, DataError."""
    from pycaffe_clr.atomic import write_atomically
    from pycaffe_clr.errors import ConfigError
    from pycaffe_clr.experiments.log_csv import csv_text, test_rows, train_rows
    from pycaffe_clr.experiments.logs import read_rows

    if len(args.delimiter) != 1:
        raise ConfigError(f"--delimiter must be one character, not {args.delimiter!r}")
    displays, tests = read_rows(args.logfile_path)
    tables = {"train": train_rows(displays), "test": test_rows(tests, displays)}
    for end, rows in tables.items():
        path = args.output_dir / f"{Path(args.logfile_path).name}.{end}"
        if rows:
            write_atomically(path, [csv_text(rows, args.delimiter).encode()])
        if args.verbose:
            print(f"Wrote {path}" if rows else f"Not writing {path}; no lines to write")
    return 0
