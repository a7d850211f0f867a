"""`pycaffe_clr plot-log`: curves of Caffe logs, as Caffe's plot_training_log.py draws them."""

from __future__ import annotations

import argparse
from pathlib import Path

_YS = ("train_loss", "test_loss", "accuracy", "lr", "momentum")
# Caffe's chart types (tools/extra/plot_training_log.py.example): what is drawn over what.
_CHARTS = (
    ("accuracy", "iteration"), ("accuracy", "seconds"), ("test_loss", "iteration"),
    ("test_loss", "seconds"), ("lr", "iteration"), ("lr", "seconds"), ("train_loss", "iteration"),
    ("train_loss", "seconds"),
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags of the command."""
    parser.description = "Draws the curves of logs, one panel for each quantity, logs overlaid."
    charts = "; ".join(f"{number}: {y} over {x}" for number, (y, x) in enumerate(_CHARTS))
    add = parser.add_argument
    add("logs", nargs="+", metavar="LOG", help="logs of any Caffe, or runs' folders")
    add("--out", type=Path, metavar="FILE", help="default: LOG.png, of several log.png; .pdf, .svg")
    add("--y", action="append", choices=_YS, help="what to draw; repeat it for more panels "
        "(default: train_loss, test_loss, accuracy, lr)")  # fmt: skip
    add("--x", choices=("iteration", "seconds", "epoch", "lr"), help="default: iteration")
    add("--chart", type=int, choices=range(len(_CHARTS)), metavar="0-7",
        help=f"one of Caffe's charts; {charts}")  # fmt: skip
    add("--images", type=int, default=0, metavar="N",
        help="images in the training set, for --x epoch where the log does not say")  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Draw the logs. Raises ConfigError, DataError."""
    from pycaffe_clr.errors import ConfigError
    from pycaffe_clr.experiments.groups import groups_of
    from pycaffe_clr.experiments.overlay import draw
    from pycaffe_clr.experiments.store import Store

    groups = groups_of(args.logs, Store([]))
    ys, x = args.y or _YS[:4], args.x or "iteration"
    if args.chart is not None:
        if args.y or args.x:
            raise ConfigError("--chart names both axes; leave out --x and --y")
        ys, x = [_CHARTS[args.chart][0]], _CHARTS[args.chart][1]
    out = args.out
    if out is None:
        out = Path(f"{groups[0].runs[0].name if len(groups) == 1 else 'log'}.png")
    draw(groups, ys, out, x, args.images)
    for group in groups:
        for run in group.runs:
            tests = len(run.tests.get("iteration", ()))
            end = f"; {run.reason}" if run.reason else ""
            print(f"{run.name}: {run.iteration:,} iterations, {tests} tests{end}")
    print(out)
    return 0
