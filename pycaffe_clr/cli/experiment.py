"""`pycaffe_clr experiment`: the report's experiments, listed, shown, run and packed."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pycaffe_clr.experiments.selection import Selection

# Action -> module of this package with add_arguments and main, and what --help says.
ACTIONS = {
    "list": ("experiment_list", "the settings, where the report has them, what is done"),
    "show": ("experiment_show", "one setting: every value with its source, its runs, its cost"),
    "pack": ("experiment_pack", "finished runs as small files, with a page that lists them"),
    "claims": ("experiment_claims", "what the report says, and whether the runs here show it"),
    "run": ("experiment_run", "make the missing runs, several at a time, here or on a cluster"),
    "status": ("experiment_status", "how far the runs are: finished, running, failed"),
}
DATASETS = ("mnist", "mnist_sample", "cifar10", "cifar100", "imagenet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their flags."""
    parser.description = (
        "The report's experiments: each row of its tables and each curve of its figures is a "
        "setting, and each setting is run several times by its protocol."
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for action, (module, text) in ACTIONS.items():
        sub = actions.add_parser(action, help=text, allow_abbrev=False)
        import_module(f"pycaffe_clr.cli.{module}").add_arguments(sub)


def main(args: argparse.Namespace) -> int:
    """Do the action; returns its exit code."""
    module = import_module(f"pycaffe_clr.cli.{ACTIONS[args.action][0]}")
    code: int = module.main(args)
    return code


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Declare the flags that choose settings; selection_of reads them."""
    add = parser.add_argument
    add("names", nargs="*", metavar="SETTING", help="by name; * stands for anything")
    add("--table", action="append", default=[], metavar="N", help="rows of table 1 or 2")
    add("--row", action="append", default=[], metavar="N", help="only these rows: 3, 11-15")
    add("--figure", action="append", default=[], metavar="N", help="curves of a figure: 7, 7c")
    add(
        "--dataset",
        action="append",
        default=[],
        choices=DATASETS,
        metavar="DATA",
        help=", ".join(DATASETS),
    )
    add("--net", action="append", default=[], metavar="NET", help="e.g. cifar3, resnet56*")
    add("--max-cost", metavar="TIME", help="one run takes no longer on one core: 90m, 2h")
    add(
        "--readings",
        action="store_true",
        help="with --table, --figure: also what else may have been run, where sources disagree",
    )


def selection_of(args: argparse.Namespace) -> Selection:
    """The Selection that the flags name. Raises ConfigError."""
    from pycaffe_clr.durations import parse_duration
    from pycaffe_clr.experiments.selection import Selection

    return Selection(
        names=tuple(args.names),
        tables=tuple(args.table),
        rows=tuple(args.row),
        figures=tuple(args.figure),
        datasets=tuple(args.dataset),
        nets=tuple(args.net),
        max_seconds=None if args.max_cost is None else parse_duration(args.max_cost),
        readings=args.readings,
    )
