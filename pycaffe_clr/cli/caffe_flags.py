"""Flags that train, test and time have in common with the commands of caffe.cpp."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pycaffe_clr.errors import ConfigError

if TYPE_CHECKING:
    from pycaffe_clr._core import Net, RecordFeed
    from pycaffe_clr.devices import Choice
    from pycaffe_clr.engine import Records
    from pycaffe_clr.proto import SolverParameter
    from pycaffe_clr.train.log import CaffeLog

_PHASES = {"TRAIN": 0, "TEST": 1}
# name: (type, default, help)
FLAGS: dict[str, tuple[Any, Any, str]] = {
    "solver": (str, "", "the solver prototxt"),
    "model": (str, "", "the net prototxt"),
    "snapshot": (str, "", "go on from this .solverstate"),
    "weights": (str, "", "start from these .caffemodel files, separated by commas"),
    "iterations": (int, 50, "number of passes; default 50"),
    "gpu": (
        str,
        "",
        "GPUs, separated by commas, or all; without any here as many replicas on the CPU",
    ),
    "phase": (str, "", "TRAIN or TEST"),
    "level": (int, 0, "the net's level"),
    "stage": (str, "", "the net's stages, separated by commas"),
    "sigint_effect": (str, "stop", "what Ctrl-C does: stop (default), snapshot or none"),
    "sighup_effect": (str, "snapshot", "what SIGHUP does: snapshot (default), stop or none"),
}


def add_caffe_flags(parser: argparse.ArgumentParser, names: str) -> None:
    """Declare Caffe's flags, with one dash or two, and those that this package adds."""
    for name in names.split():
        kind, default, text = FLAGS[name]
        parser.add_argument(f"--{name}", f"-{name}", type=kind, default=default, help=text)
    ours = parser.add_argument_group("not in Caffe")
    ours.add_argument("--data-dir", help="where relative databases lie")
    ours.add_argument(
        "--device",
        help="in place of --gpu: cpu, cuda (cuda:1 the second GPU), kernels, onednn or reference",
    )
    ours.add_argument("--precision", help="of products: tf32 (default on cuda), fp32 or bf16")
    ours.add_argument("--threads", type=int)
    ours.add_argument("-D", dest="defines", action="append", default=[], metavar="NAME=VALUE")


def prepare(args: argparse.Namespace) -> tuple[CaffeLog, dict[str, str]]:
    """What every command does first: (log on stderr, where glog writes; values of -D)."""
    from pycaffe_clr.engine import ready_core
    from pycaffe_clr.prototxt import parse_assignments
    from pycaffe_clr.train.log import CaffeLog, LogHandler

    log = CaffeLog(sys.stderr)
    logger = logging.getLogger("pycaffe_clr")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers[:] = [LogHandler(log)]
    if args.threads is not None:
        if args.threads < 1:
            raise ConfigError(f"--threads must be 1 or more, not {args.threads}")
        ready_core().set_threads(args.threads)
    return log, parse_assignments(args.defines, "-D")


def choose_device(
    args: argparse.Namespace, log: CaffeLog, solver: SolverParameter | None = None
) -> Choice:
    """What --device, --gpu or else the solver means, said in the log. Raises ConfigError.

    solver: given by what trains, on all GPUs that are named; others take the first.
    """
    from pycaffe_clr import devices

    if args.device is not None and args.gpu:
        raise ConfigError("--device and --gpu exclude each other")
    if args.device is not None:
        choice = devices.Choice(args.device, 0, f"Use device {args.device}.")
    elif args.gpu:
        of_flag = devices.of_gpu_flag if solver is None else devices.all_of_gpu_flag
        choice = of_flag(args.gpu)
    elif solver is not None:
        choice = devices.of_solver(solver)
    else:
        choice = devices.Choice("cpu", 0, "Use CPU.")
    missed = bool(args.gpu) and choice.device == "cpu"
    place = "caffe.cpp:197" if choice.device == "cpu" else "caffe.cpp:218"
    log.write(choice.note, place, "W" if missed else "I")
    return choice


def phase_of(args: argparse.Namespace, default: int) -> int:
    """The phase by its name. Raises ConfigError."""
    if not args.phase:
        return default
    if args.phase not in _PHASES:
        raise ConfigError(f'--phase must be TRAIN or TEST, not "{args.phase}"')
    return _PHASES[args.phase]


def stages_of(args: argparse.Namespace) -> tuple[str, ...]:
    """The net's stages, which --stage gives separated by commas."""
    return tuple(stage for stage in args.stage.split(",") if stage)


def build_model(
    args: argparse.Namespace,
    log: CaffeLog,
    defines: dict[str, str],
    phase: int,
    device: str,
    records: Records | None = None,
) -> tuple[Net, Mapping[str, RecordFeed]]:
    """(core net, its feeds) of --model, with --weights. records: where its databases are opened.

    Raises ConfigError, DataError."""
    from pycaffe_clr import engine
    from pycaffe_clr.catalog import find_net
    from pycaffe_clr.prototxt import format_message, load_net
    from pycaffe_clr.weights import load_weights, read_weights

    if not args.model:
        raise ConfigError("need a net: --model FILE")
    param, source = load_net(find_net(args.model), defines)
    net, feeds = engine.build_net(
        param,
        phase=phase,
        level=args.level,
        stages=stages_of(args),
        device=device,
        precision=args.precision,
        fuse=True,
        records=records or engine.Records(args.data_dir),
        source=source,
    )
    shapes = {name: net.shape(name) for name in net.blobs()}
    log.net(format_message(param), net.layers(), shapes, net.outputs())
    weights = getattr(args, "weights", "")
    for each in [name for name in weights.split(",") if name]:
        load_weights(net, read_weights(each), each)
    return net, feeds
