"""The command `pycaffe_clr`: a table of verbs, each a module with add_arguments and main."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from pycaffe_clr.errors import PycaffeClrError

# Verb -> module, and what --help says. Modules are imported when their verb is used; none may be
# called as something built in, since it becomes a name of this package then.
VERBS = {
    "run": ("run", "train a solver in a folder of its own: log, tables, curve"),
    "data": ("data", "databases that a net reads: real, a sample, made up"),
    "list": ("shipped", "the solvers and nets that ship with pycaffe_clr"),
    "range": ("range", "learning rate range test: the rates to train with, in words"),
    "search": ("search", "weight decay, momentum, batch or rate by short runs"),
    "recipe": ("recipe", "rate, batch, momentum and weight decay found by short runs"),
    "show": ("show", "the plan of a net: ops after fusion, layouts, memory"),
    "table": ("table", "the report's tables, our runs beside its numbers"),
    "experiment": ("experiment", "the report's experiments: list, show, run, status, pack, .."),
    "report": ("report", "one HTML page: tables, figures, claims, assumptions, runs"),
    "figures": ("figures", "the report's figures from runs on disk"),
    "compare": ("compare", "any runs or logs side by side, in numbers and a picture"),
    "plot-log": ("plot_log", "curves of any Caffe log"),
    "parse-log": ("parse_log", "any Caffe log as CSV, as parse_log.py"),
    "draw": ("draw", "a picture of a net, as draw_net.py"),
    "upgrade": ("upgrade", "nets, solvers and models of old forms in today's"),
    "convert-imageset": ("convert_imageset", "a list of pictures as a database"),
    "compute-mean": ("compute_mean", "the mean image of a database"),
    "extract-features": ("extract_features", "blobs of a net to databases"),
    "export": ("export", "a net and its weights as an ONNX file"),
    "train": ("train", "as `caffe train`"),
    "test": ("test", "as `caffe test`"),
    "time": ("time", "as `caffe time`: milliseconds per layer"),
    "device_query": ("device_query", "as `caffe device_query`: the GPUs here"),
    "version": ("version", "versions, backends, processor"),
}
# Caffe's names of its tools.
_ALIASES = {
    "--version": "version",
    "-V": "version",
    "compute_image_mean": "compute-mean",
    "convert_imageset": "convert-imageset",
    "draw_net": "draw",
    "extract_features": "extract-features",
    "parse_log": "parse-log",
    "upgrade_net_proto_binary": "upgrade",
    "upgrade_net_proto_text": "upgrade",
    "upgrade_solver_proto_text": "upgrade",
}
# Those that go on where they were stopped.
_RESUMED = ("range", "search", "recipe")
DEBUG_VARIABLE = "PYCAFFE_CLR_DEBUG"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code: 0, 1 for errors, 130 after Ctrl-C.

    Wrong usage exits with 2, as argparse has it.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0 if words else 2
    verb = _ALIASES.get(words[0], words[0])
    if verb not in VERBS:
        print(f"error: {verb!r} is no command; known: {', '.join(VERBS)}", file=sys.stderr)
        return 2
    debug = "--debug" in words[1:] or bool(os.environ.get(DEBUG_VARIABLE))
    logger = logging.getLogger("pycaffe_clr")
    before = logger.handlers[:], logger.level, logger.propagate
    try:
        module = import_module(f"pycaffe_clr.cli.{VERBS[verb][0]}")
        parser = argparse.ArgumentParser(prog=f"pycaffe_clr {verb}", allow_abbrev=False)
        module.add_arguments(parser)
        parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")
        code: int = module.main(parser.parse_args(words[1:]))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader has left (`| head`): nothing may go to stdout any more, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        on = "; the same command goes on" if verb in _RESUMED else ""
        print(f"stopped{on}", file=sys.stderr)
        return 130
    except PycaffeClrError as error:
        if debug:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        if debug:
            raise
        if getattr(error, "__notes__", None):  # of a Python layer: its author wants to see where
            traceback.print_exc()
            return 1
        print(
            f"error: {type(error).__name__}: {error} (unexpected: a bug of pycaffe_clr; "
            f"--debug or {DEBUG_VARIABLE}=1 shows where)",
            file=sys.stderr,
        )
        return 1
    finally:
        # A verb sends messages where it wants them; a caller in Python has them as before.
        logger.handlers[:], logger.propagate = before[0], before[2]
        logger.setLevel(before[1])


def _usage() -> str:
    lines = [
        "usage: pycaffe_clr COMMAND ...",
        "",
        "Trains Caffe's nets with cyclical learning rates and cyclical momentum.",
        "",
    ]
    lines += [f"  {verb:<18}{text}" for verb, (_, text) in VERBS.items()]
    lines += [
        "",
        "pycaffe_clr COMMAND --help tells more. A first run: pycaffe_clr run lenet_sample",
    ]
    return "\n".join(lines)
