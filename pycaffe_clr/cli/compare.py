"""`pycaffe_clr compare`: any runs side by side, in numbers and in a picture."""

from __future__ import annotations

import argparse
from pathlib import Path

from pycaffe_clr.experiments.roots import add_roots

_YS = ("accuracy", "test_loss", "train_loss")
_XS = ("iteration", "epoch", "lr", "seconds")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags of the command."""
    parser.description = (
        "Compares groups of runs: the runs of one setting, or of one solver with equal settings, "
        "are one group with its mean and deviation. The first group is what the others are tested "
        "against. Of two groups it also says how far their curves are apart."
    )
    add = parser.add_argument
    add(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a run's folder, a folder of runs, a log, a pattern, a setting, one of the report's "
        "public logs (its beginning is enough), or `author`: those logs that belong to the "
        "settings before it; LABEL=RUN gives it a label",
    )
    add("--out", type=Path, default=Path("compare.png"), metavar="FILE",
        help="default: %(default)s; .pdf, .svg")  # fmt: skip
    add("--no-picture", action="store_true", help="numbers only")
    add("--y", action="append", choices=_YS, help="what to draw; repeat it for more panels "
        "(default: accuracy, or else the first that there is)")  # fmt: skip
    add("--x", choices=_XS, default="iteration", help="default: iteration")
    add("--to", action="append", type=float, default=[], metavar="PERCENT",
        help="iterations until this accuracy; repeat it (default: three levels)")  # fmt: skip
    add("--images", type=int, default=0, metavar="N",
        help="images in the training set, for --x epoch where the runs do not say")  # fmt: skip
    add_roots(parser)


def main(args: argparse.Namespace) -> int:
    """Print the comparison and draw it. Raises ConfigError, DataError."""
    from pycaffe_clr.cli.messages import say
    from pycaffe_clr.experiments.compare import apart, compare
    from pycaffe_clr.experiments.compare_text import text_of
    from pycaffe_clr.experiments.groups import groups_of
    from pycaffe_clr.experiments.store import open_store

    groups = groups_of(args.runs, open_store(args.roots))
    parts = [apart(groups[0], groups[1], y) for y in _YS] if len(groups) == 2 else []
    say(text_of(compare(groups, args.to), [part for part in parts if part is not None]))
    if not args.no_picture:
        from pycaffe_clr.experiments.overlay import draw, lines_of

        default = [y for y in _YS if any(len(line.x) for line in lines_of(groups, y))]
        draw(groups, args.y or default[:1] or _YS, args.out, args.x, args.images)
        print(args.out)
    return 0
