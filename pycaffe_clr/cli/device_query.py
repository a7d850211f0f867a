"""`pycaffe_clr device_query`: the GPUs that nets can be run on, as Caffe's command of that name."""

from __future__ import annotations

import argparse

from pycaffe_clr.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare Caffe's flag."""
    parser.description = "Name the GPUs here."
    parser.add_argument(
        "--gpu", "-gpu", default="all", help="their numbers, separated by commas, or all (default)"
    )


def main(args: argparse.Namespace) -> int:
    """Print them. Raises ConfigError where there are none, and for numbers that are not there."""
    from pycaffe_clr.devices import gpu_numbers, gpus

    names, why = gpus()
    if not names:
        raise ConfigError(why)
    print(f"Querying GPUs {args.gpu}")
    for number in gpu_numbers(args.gpu, len(names)):
        print(f"Device id:                     {number}")
        print(f"Name:                          {names[number]}")
    return 0
