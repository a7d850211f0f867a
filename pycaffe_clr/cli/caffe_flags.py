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
        "GPUs, separated by commas; here: as many replicas on the CPU",
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
    ours.add_argument("--device", default="cpu", help="cpu (default), kernels, onednn or reference")
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


def gpu_count(args: argparse.Namespace, log: CaffeLog) -> int:
    """Devices that --gpu asks for, 0 without it. They stand for replicas on the CPU here."""
    if not args.gpu:
        log.write("Use CPU.", "caffe.cpp:197")
        return 0
    count = len([number for number in args.gpu.split(",") if number.strip()])
    if args.gpu == "all":
        count = 1
    log.write(
        f"--gpu {args.gpu}: this command runs on the CPU only"
        f"{f', with {count} replicas' if count > 1 else ''}",
        "caffe.cpp:218",
        "W",
    )
    return count


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
    args: argparse.Namespace, log: CaffeLog, defines: dict[str, str], phase: int
) -> tuple[Net, Mapping[str, RecordFeed]]:
    """(core net, its feeds) of --model, with --weights. Raises ConfigError, DataError."""
    from pycaffe_clr.catalog import find_net
    from pycaffe_clr.engine import Records, build_net
    from pycaffe_clr.prototxt import format_message, load_net
    from pycaffe_clr.weights import load_weights, read_weights

    if not args.model:
        raise ConfigError("need a net: --model FILE")
    param, source = load_net(find_net(args.model), defines)
    net, feeds = build_net(
        param,
        phase=phase,
        level=args.level,
        stages=stages_of(args),
        device=args.device,
        precision=args.precision,
        fuse=True,
        records=Records(args.data_dir),
        source=source,
    )
    shapes = {name: net.shape(name) for name in net.blobs()}
    log.net(format_message(param), net.layers(), shapes, net.outputs())
    weights = getattr(args, "weights", "")
    for each in [name for name in weights.split(",") if name]:
        load_weights(net, read_weights(each), each)
    return net, feeds
