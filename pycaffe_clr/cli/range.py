"""`pycaffe_clr range`: the learning rate range test of a solver, and what it shows, in words."""

from __future__ import annotations

import argparse

from pycaffe_clr.cli.studies import add_common, common_fields, paragraphs, say

DESCRIPTION = """\
Train SOLVER (a prototxt file, or the name of one that ships) while its learning
rate rises linearly from --min-lr to --max-lr, test it often, and say in words
what the test loss shows: where training begins to converge, where the loss
turns, where it overfits, where training diverges; and the learning rates to
train with. Ends early once training has clearly diverged. Left in DIR:
range.json, range.png and a folder for each run. The same command goes on where
it was stopped.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `pycaffe_clr range`."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("solver", metavar="SOLVER", help="a prototxt file, or the name of one that ships")
    add("--min-lr", type=float, metavar="LR", help="default: a hundredth of --max-lr")
    add(
        "--max-lr",
        type=float,
        metavar="LR",
        help="default: ten times the solver's highest rate, or that of a range test's solver",
    )
    add("--iterations", type=int, metavar="N", help="default: the solver's stepsize")
    add(
        "--momentum",
        "--cyclical-momentum",
        dest="momentum",
        type=float,
        nargs="+",
        metavar="M",
        help="a constant, or FROM TO, over the run; default: the solver's",
    )
    add("--runs", type=int, default=1, metavar="N", help="seeds; their mean is read (default 1)")
    add(
        "--short-runs",
        type=int,
        nargs="?",
        const=300,
        default=0,
        metavar="N",
        help="short runs at constant rates, of N iterations (300), for the minimum rate",
    )
    add("--tests", type=int, metavar="N", help="tests over the run (default 60)")
    add_common(parser, "runs/range/SOLVER")


def main(args: argparse.Namespace) -> int:
    """Run the test; raises the errors of pycaffe_clr.errors, returns the exit code."""
    from pycaffe_clr.experiments.range_test import FILE, PICTURE, range_test

    given = {"tests": args.tests} if args.tests is not None else {}
    found = range_test(
        args.solver,
        out=args.out,
        min_lr=args.min_lr,
        max_lr=args.max_lr,
        iterations=args.iterations,
        momentum=args.momentum,
        runs=args.runs,
        short_runs=args.short_runs,
        jobs=args.jobs,
        say=say,
        **given,
        **common_fields(args),
    )
    print()
    print(paragraphs(found.sentences()))
    print(f"\nwrote {found.path / FILE} and {found.path / PICTURE}")
    return 0
