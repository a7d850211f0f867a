"""`pycaffe_clr recipe`: the report's checklist as one command that ends with a solver."""

from __future__ import annotations

import argparse

from pycaffe_clr.cli.studies import add_common, common_fields, say

DESCRIPTION = """\
Find settings for the net of SOLVER by short runs, as the checklist of section 5
has it, and write them down as a solver with 1cycle and cyclical momentum, with
a reason over each value:

  1. learning rate  range tests, until the test loss turns inside the range
  2. total batch    half, once and twice the net's, for the same time each
  3. momentum       0.99, 0.97, 0.95, 0.9, each to 0.85 and back, whole cycles
  4. weight decay   a grid, then bisection of the exponent, cyclical momentum

Left in DIR: SOLVER_recipe.prototxt with its net, ready for `pycaffe_clr run`,
recipe.json, and a folder for each step. The same command goes on where it was
stopped.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `pycaffe_clr recipe`."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("solver", metavar="SOLVER", help="a prototxt file, or the name of one that ships")
    add("--budget", default="10m", metavar="TIME", help="of all short runs: 90s, 10m (default), 2h")
    add("--max-lr", type=float, metavar="LR", help="where the first range test ends")
    add("--max-iter", type=int, metavar="N", help="of the solver to write; default: as SOLVER has")
    add("--batches", type=int, nargs="+", metavar="N", help="to compare, per replica")
    add_common(parser, "runs/recipe/SOLVER")


def main(args: argparse.Namespace) -> int:
    """Cook; raises the errors of pycaffe_clr.errors, returns the exit code."""
    from pycaffe_clr.durations import parse_duration
    from pycaffe_clr.experiments.recipe import recipe
    from pycaffe_clr.experiments.recipe_words import table

    found = recipe(
        args.solver,
        out=args.out,
        budget=parse_duration(args.budget),
        max_iter=args.max_iter,
        max_lr=args.max_lr,
        batches=args.batches,
        jobs=args.jobs,
        say=say,
        **common_fields(args),
    )
    print()
    print(table(found))
    print(f"\nwrote {found.solver}")
    data = f" --data-dir {args.data_dir}" if args.data_dir else ""
    print(f"train it: pycaffe_clr run {found.solver}{data}")
    return 0
