"""What the verbs range, search and recipe share: flags of their runs, and words at 80 columns."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pycaffe_clr.prototxt.sets import parse_assignments

_FIELDS = "data_dir device threads seed net batch test_batch filler replicas".split()
_PAIRS = (("-D", "defines", "NAME"), ("--set", "sets", "FIELD"), ("--set-net", "net_sets", "FIELD"))


def add_common(parser: argparse.ArgumentParser, out: str) -> None:
    """Declare --out and the flags that each run of a study takes, as `run` has them."""
    add = parser.add_argument
    add("--out", type=Path, metavar="DIR", help=f"default: {out}")
    add("--data-dir", metavar="DIR", help="where relative databases lie")
    add("--device", help="cpu (default), or a backend: reference, onednn")
    add("--threads", type=int, metavar="N")
    add("--jobs", type=int, default=1, metavar="N", help="runs at a time (default 1)")
    add("--seed", type=int, metavar="N", help="of the first run; default 1")
    add("--net", metavar="NET", help="train another net: a file, or one that ships")
    add("--batch", type=int, metavar="N", help="batch_size in TRAIN, of each replica")
    add("--test-batch", type=int, metavar="N", help="batch_size in TEST")
    add("--filler", metavar="TYPE", help="type of the weight fillers: xavier, msra, ...")
    add("--replicas", type=int, metavar="R", help="batches per step")
    for flag, name, what in _PAIRS:
        add(flag, dest=name, action="append", default=[], metavar=f"{what}=VALUE")


def common_fields(args: argparse.Namespace) -> dict[str, Any]:
    """Fields of RunSpec that were given."""
    found = {name: getattr(args, name) for name in _FIELDS if getattr(args, name) is not None}
    for flag, name, _ in _PAIRS:
        values = parse_assignments(getattr(args, name), flag)
        if values:
            found[name] = values
    return found


def paragraphs(sentences: Sequence[str], indent: str = "") -> str:
    """Sentences, each beginning on a line of its own, wrapped at 80 columns."""
    return "\n".join(
        textwrap.fill(
            text,
            80,
            initial_indent=indent,
            subsequent_indent=indent + "  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for text in sentences
    )


def say(text: str) -> None:
    """Print what a study tells while it runs."""
    print(paragraphs([text.strip()]), flush=True)
