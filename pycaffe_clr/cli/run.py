"""`pycaffe_clr run`: train a solver, everything it leaves in one folder."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from pycaffe_clr.cli.messages import show_warnings
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.train.spec import Flag, RunSpec, flags

DESCRIPTION = """\
Train SOLVER (a prototxt file, or the name of one that ships: `pycaffe_clr
list`). Left in DIR: train.log (Caffe's lines), metrics.csv, tests.csv,
timings.csv, the solver and nets with everything filled in, snapshots (named by
the last part of snapshot_prefix), run.json and curve.png. Ctrl-C and SIGTERM
snapshot and stop; a second one stops at once; SIGHUP snapshots. A run that was
stopped, or killed, goes on by --resume as if it had never stopped.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `pycaffe_clr run`, one for each field of RunSpec."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    for field, flag in flags().items():
        add_flag(parser, field, flag)
    parser.add_argument(
        "--gpu",
        metavar="N,N...|all",
        help="train on these GPUs, a process on each (as --device cuda:N,N)",
    )
    parser.add_argument(
        "--runs",
        type=int,
        metavar="N",
        help="N runs by the report's protocol (4 in it), with other batches, fillers and seeds, in "
        "DIR/run1 ...; then their mean",
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="with --runs: so many at a time")


def add_flag(parser: argparse.ArgumentParser, field: str, flag: Flag) -> None:
    """Declare one flag; absent ones leave their field out of the namespace."""
    settings: dict[str, Any] = {"help": flag.help, "default": argparse.SUPPRESS}
    if not flag.name.startswith("-"):
        parser.add_argument(field, nargs="?", metavar=flag.metavar, **settings)
        return
    settings["dest"] = field
    if flag.kind is bool:
        settings["action"] = "store_false" if flag.name.startswith("--no-") else "store_true"
    else:
        settings["metavar"] = flag.metavar
        if flag.kind is dict:
            settings["action"] = "append"
        else:
            settings["type"] = flag.kind
    parser.add_argument(flag.name, **settings)


def main(args: argparse.Namespace) -> int:
    """Train; raises the errors of pycaffe_clr.errors, returns the exit code."""
    from pycaffe_clr.train.run import train

    show_warnings()
    if args.runs is not None:
        return _several(spec_of(args), args.runs, args.jobs)
    if args.jobs is not None:
        raise ConfigError("--jobs belongs to --runs: one run is one process")
    result = train(spec_of(args), console=True, owns_process=True)
    if result.diverged:
        print(f"error: {result.reason}", file=sys.stderr)
        return 1
    # As shells have it where a signal ended a program.
    return 128 + int(result.record["signal"]) if result.state == "stopped" else 0


def _several(spec: RunSpec, runs: int, jobs: int | None) -> int:
    """Make the runs of the protocol; the exit code is 1 where one diverged or did not end."""
    from pycaffe_clr.experiments.dispatch import exit_code, run_jobs
    from pycaffe_clr.experiments.several import protocol_jobs, summary

    # Threads are the queue's to share out.
    shared = replace(spec, threads=None)
    outcomes = run_jobs(protocol_jobs(shared, runs), at_once=jobs, threads=spec.threads)
    print(summary(outcomes))
    code = exit_code(outcomes)
    if code == 130:
        print("go on with: the same command and --resume")
    return code or int(any(o.state == "diverged" for o in outcomes))


def spec_of(args: argparse.Namespace) -> RunSpec:
    """The RunSpec of a parsed command line. Raises ConfigError."""
    values = given_fields(args, flags())
    if args.gpu is None:
        return RunSpec(**values)
    from pycaffe_clr.devices import all_of_gpu_flag

    if "device" in values:
        raise ConfigError("--device and --gpu exclude each other")
    choice = all_of_gpu_flag(args.gpu)
    values["device"] = choice.device
    if choice.device == "cpu":
        print(f"warning: {choice.note}", file=sys.stderr)
        if choice.gpus > 1:
            values.setdefault("replicas", choice.gpus)
    return RunSpec(**values)


def given_fields(args: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Those of these fields of RunSpec that a command line has. Raises ConfigError."""
    from pycaffe_clr.prototxt import parse_assignments

    values: dict[str, Any] = {}
    for name in names:
        if hasattr(args, name):
            value, flag = getattr(args, name), flags()[name]
            values[name] = parse_assignments(value, flag.name) if flag.kind is dict else value
    return values
