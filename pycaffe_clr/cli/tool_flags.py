"""Flags as Caffe's tools have them: with one dash or two, `--gray` and `--gray=true`."""

from __future__ import annotations

import argparse
import sys
from typing import Any


def add_flag(parser: argparse.ArgumentParser, name: str, text: str) -> None:
    """Declare a flag that is on or off."""
    dashed = [f"--{name}", f"-{name}"]
    parser.add_argument(*dashed, dest=name, action="store_true", help=text)
    for value, action in (("true", "store_true"), ("false", "store_false")):
        spellings = [f"{each}={value}" for each in dashed]
        if value == "false":
            spellings += [f"--no{name}", f"-no{name}"]
        parser.add_argument(*spellings, dest=name, action=action, help=argparse.SUPPRESS)
    parser.set_defaults(**{name: False})


def add_value(parser: argparse.ArgumentParser, name: str, default: Any, text: str) -> None:
    """Declare a flag with a value of the default's type."""
    kind = type(default)
    parser.add_argument(f"--{name}", f"-{name}", type=kind, default=default, help=text)


def add_backend(parser: argparse.ArgumentParser, kinds: tuple[str, ...], text: str) -> None:
    """Declare --backend, the kind of a database."""
    parser.add_argument("--backend", "-backend", choices=kinds, default="lmdb", help=text)


def note(text: str) -> None:
    """A line on stderr, where Caffe's tools log."""
    print(text, file=sys.stderr)
