"""What the verbs range, search and recipe share: flags of their runs, and words at 80 columns."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pycaffe_clr.cli.run import add_flag, given_fields
from pycaffe_clr.train.spec import flags

# Of RunSpec: what all runs of a study have in common.
_FIELDS = (
    "data_dir", "device", "precision", "threads", "net", "batch", "test_batch", "filler",
    "replicas", "defines", "sets", "net_sets",
)  # fmt: skip


def add_common(parser: argparse.ArgumentParser, out: str) -> None:
    """Declare --out and the flags that each run of a study takes, as `run` has them."""
    add = parser.add_argument
    add("--out", type=Path, metavar="DIR", help=f"default: {out}")
    add("--jobs", type=int, default=1, metavar="N", help="runs at a time (default 1)")
    add("--seed", type=int, metavar="N", help="of the first run; default 1")
    for name in _FIELDS:
        add_flag(parser, name, flags()[name])


def common_fields(args: argparse.Namespace) -> dict[str, Any]:
    """Fields of RunSpec that were given. Raises ConfigError."""
    found = given_fields(args, _FIELDS)
    return found if args.seed is None else found | {"seed": args.seed}


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
