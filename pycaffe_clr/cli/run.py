"""`pycaffe_clr run`: train a solver, everything it leaves in one folder."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from pycaffe_clr.cli.messages import show_warnings

DESCRIPTION = """\
Train SOLVER (a prototxt file, or the name of one that ships: `pycaffe_clr list`). Left in DIR:
train.log (Caffe's lines), metrics.csv, tests.csv, solver.prototxt and net.prototxt with everything
filled in, snapshots (named by the last part of snapshot_prefix), run.json and curve.png.
Ctrl-C and SIGTERM snapshot and stop; a second one stops at once; SIGHUP snapshots. A run that was
stopped, or killed, goes on by --resume as if it had never stopped.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `pycaffe_clr run`."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("solver", nargs="?", metavar="SOLVER", help="left out: with --resume and --out")
    add("--out", type=Path, metavar="DIR", help="default: runs/SOLVER, or runs/SOLVER-2, ...")
    add("--resume", action="store_true", help="go on with the run in DIR, if there is one")
    add("--overwrite", action="store_true", help="replace the run in DIR")
    add("--data-dir", type=Path, metavar="DIR", help="where relative databases lie")
    add("--device", help="cpu (default), or a backend: reference, onednn")
    add("--threads", type=int, metavar="N")
    add("--replicas", type=int, metavar="R", help="batches per step, BatchNorm over each by itself")
    add("--max-iter", type=int, metavar="N")
    add("--seed", type=int, metavar="N", help="default: the solver's random_seed, or a new one")
    add("--weights", metavar="FILE", help="start from these .caffemodel weights")
    add("--snapshot", metavar="FILE", help="go on from a .solverstate")
    add("--caffe-resume", action="store_true", help="with --snapshot: data from record 0, as Caffe")
    add(
        "--checkpoint-every",
        type=float,
        metavar="SECONDS",
        help="rolling checkpoint; default 120",
    )
    add(
        "-D",
        dest="defines",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="value of a placeholder in the prototxts",
    )
    add(
        "--set",
        dest="sets",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change a field of the solver",
    )
    add(
        "--no-whole-test",
        action="store_true",
        help="do not test on the whole test set at the end",
    )


def main(args: argparse.Namespace) -> int:
    """Train; raises the errors of pycaffe_clr.errors, returns the exit code."""
    from pycaffe_clr.prototxt import parse_assignments
    from pycaffe_clr.train.run import RunOptions, run

    logging.getLogger("pycaffe_clr").setLevel(logging.INFO)
    show_warnings()
    return run(
        RunOptions(
            solver=args.solver,
            out=args.out,
            resume=args.resume,
            overwrite=args.overwrite,
            data_dir=args.data_dir,
            device=args.device,
            threads=args.threads,
            replicas=args.replicas,
            weights=args.weights,
            snapshot=args.snapshot,
            caffe_resume=args.caffe_resume,
            max_iter=args.max_iter,
            seed=args.seed,
            checkpoint_every=args.checkpoint_every,
            whole_test=not args.no_whole_test,
            defines=parse_assignments(args.defines, "-D"),
            sets=parse_assignments(args.sets, "--set"),
        )
    )
