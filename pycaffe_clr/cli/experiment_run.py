"""`pycaffe_clr experiment run`: make the runs of settings that are missing."""

from __future__ import annotations

import argparse
from pathlib import Path

from pycaffe_clr.cli.experiment import add_selection, selection_of

DESCRIPTION = """\
Make the runs of the chosen settings that are not there yet, several at a time, each in
ROOT/SETTING/run1 ... run4 (and `file`, where the net's file has fillers of its own). What is done
is not done again, what was stopped or killed goes on from its last checkpoint: to go on with an
experiment, give the same command again. Ctrl-C lets every run write a checkpoint and stop. The exit
code is 0 where all runs are through, diverged ones included; 130 after Ctrl-C; else 1.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `pycaffe_clr experiment run`."""
    parser.description = DESCRIPTION
    add_selection(parser)
    add = parser.add_argument
    add("--root", type=Path, metavar="DIR", help="default: runs/report")
    add("--runs-of-each", type=int, metavar="N", help="only the first N runs of each setting")
    add("--within", metavar="TIME", help="only the cheapest missing runs that fit: 90m, 2h")
    add("--jobs", type=int, metavar="N", help="runs at a time; default: one per core")
    add("--threads", type=int, metavar="N", help="of each run; default: 1, more for few runs")
    add("--data-dir", type=Path, metavar="DIR", help="where relative databases lie")
    add("--device", help="as for `pycaffe_clr run`")
    add("--precision", help="as for `pycaffe_clr run`")
    add(
        "--scale",
        type=float,
        metavar="S",
        help="try everything small: runs S times as long, on small data where the real ones are "
        "not there, in a root of their own",
    )
    add(
        "--cluster",
        metavar="auto|ADDRESS",
        help="hand the runs to a Ray cluster, whose nodes see ROOT under one path",
    )
    add("--checkpoint-every", type=float, metavar="SECONDS", help="of each run; default 120")
    add(
        "--follow",
        action=argparse.BooleanOptionalAction,
        help="print the lines of the runs' logs; default: on a cluster",
    )


def main(args: argparse.Namespace) -> int:
    """Make the runs; raises ConfigError and DataError, returns the exit code."""
    from pycaffe_clr.cli.messages import show_warnings
    from pycaffe_clr.durations import parse_duration
    from pycaffe_clr.errors import ConfigError
    from pycaffe_clr.experiments.estimate import Estimates, measured_runs
    from pycaffe_clr.experiments.manifest import load
    from pycaffe_clr.experiments.queue import default_root, exit_code, run_settings
    from pycaffe_clr.experiments.selection import select
    from pycaffe_clr.experiments.store import Store

    show_warnings()
    selection = selection_of(args)
    if not any(vars(selection).values()) and args.within is None:
        raise ConfigError(
            "that would be every run of the report: choose by SETTING, --table, --figure, "
            "--dataset, --net, --max-cost or --within; '*' chooses all"
        )
    manifest = load()
    root = args.root or default_root(args.scale)
    estimates = Estimates(measured_runs(Store([root]), manifest.settings.values()))
    settings = select(manifest, selection, estimates)
    if not settings:
        raise ConfigError("no setting is all of that; pycaffe_clr experiment list shows them")
    if args.runs_of_each is not None and args.runs_of_each < 1:
        raise ConfigError(f"--runs-of-each must be 1 or more, not {args.runs_of_each}")
    outcomes = run_settings(
        [(s, plan) for s in settings for plan in s.runs[: args.runs_of_each]],
        root,
        jobs=args.jobs,
        threads=args.threads,
        within=None if args.within is None else parse_duration(args.within),
        cluster=args.cluster,
        scale=args.scale,
        follow=args.follow,
        data_dir=args.data_dir,
        device=args.device,
        precision=args.precision,
        checkpoint_every=args.checkpoint_every,
    )
    return exit_code(outcomes)
