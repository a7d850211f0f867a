"""`pycaffe_clr search`: weight decay, momentum, batch size or learning rate by short runs."""

from __future__ import annotations

import argparse

from pycaffe_clr.cli.studies import add_common, common_fields, paragraphs, say

DESCRIPTION = """\
Compare values of one setting of SOLVER by short runs, ranked by their test
loss, and say what each shows. The learning rate of a run rises from --min-lr to
--max-lr while its momentum falls.

  weight_decay  1e-2, 1e-3, 1e-4; then two more, by bisection of the exponent
                between the best two, or beyond the best where it is the largest
                or smallest
  momentum      0.99, 0.97, 0.95, 0.9; also cyclical ones: 0.95-0.85
  batch         half, once, twice and four times the net's, for the same time
                each: the step is timed first; 1cycle runs, whose rates grow
                with the root of the batch; by accuracy
  lr            constant rates: a quarter, half, once and twice the solver's
                highest

With --from-snapshot or --snapshot-at the runs branch off from one that has
reached a plateau. Left in DIR: search.json, search.png and a folder for each
run. The same command goes on where it was stopped; other --values or more
--rounds add to what is there.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `pycaffe_clr search`."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("solver", metavar="SOLVER", help="a prototxt file, or the name of one that ships")
    add("--vary", required=True, metavar="WHAT", help="weight_decay, momentum, batch or lr")
    add("--values", nargs="+", metavar="V", help="to try instead of those above")
    add("--rounds", type=int, metavar="N", help="values to add by bisection or extrapolation")
    add("--iterations", type=int, metavar="N", help="of each run; default half a stepsize")
    add("--min-lr", type=float, metavar="LR", help="default: the solver's base_lr")
    add("--max-lr", type=float, metavar="LR", help="default: its highest; the same: constant")
    add("--momentum", type=float, nargs="+", metavar="M", help="constant, or FROM TO over a run")
    add("--cycle", action="store_true", help="whole 1cycle runs instead of a rising rate")
    add("--from-snapshot", metavar="FILE", help="a .solverstate that all runs go on from")
    add(
        "--snapshot-at",
        metavar="N",
        help="branch all runs off from one of N iterations, or `plateau`: when its loss is flat",
    )
    add("--tests", type=int, metavar="N", help="tests of each run (default 60)")
    add_common(parser, "runs/search/SOLVER_WHAT")


def main(args: argparse.Namespace) -> int:
    """Search; raises the errors of pycaffe_clr.errors, returns the exit code."""
    from pycaffe_clr.errors import ConfigError
    from pycaffe_clr.experiments.search import FILE, PICTURE, search
    from pycaffe_clr.experiments.search_words import conclusion, table

    at = args.snapshot_at
    if at is not None and at != "plateau" and not (at.isdecimal() and int(at) > 0):
        raise ConfigError(f"--snapshot-at {at}: expected a number of iterations, or plateau")
    found = search(
        args.solver,
        args.vary,
        values=args.values,
        out=args.out,
        min_lr=args.min_lr,
        max_lr=args.max_lr,
        iterations=args.iterations,
        momentum=args.momentum,
        rounds=args.rounds,
        cycle=args.cycle,
        from_snapshot=args.from_snapshot,
        snapshot_at=None if at is None else 0 if at == "plateau" else int(at),
        jobs=args.jobs,
        say=say,
        **({"tests": args.tests} if args.tests is not None else {}),
        **common_fields(args),
    )
    print()
    print(table(found))
    print()
    print(paragraphs(conclusion(found)))
    print(f"\nwrote {found.path / FILE} and {found.path / PICTURE}")
    return 0
