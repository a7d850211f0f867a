"""`pycaffe_clr experiment list`: settings, where the report has them, cost, runs that are done."""

from __future__ import annotations

import argparse

from pycaffe_clr.cli.experiment import add_selection, selection_of
from pycaffe_clr.durations import duration
from pycaffe_clr.experiments.roots import add_roots


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `pycaffe_clr experiment list`."""
    parser.description = "The settings of the report's experiments, in its order."
    add_selection(parser)
    add_roots(parser)


def main(args: argparse.Namespace) -> int:
    """Print the settings; returns 0."""
    from pycaffe_clr.experiments.estimate import Estimates, measured_runs
    from pycaffe_clr.experiments.manifest import load
    from pycaffe_clr.experiments.selection import select
    from pycaffe_clr.experiments.store import open_store

    manifest, store = load(), open_store(args.roots)
    estimates = Estimates(measured_runs(store, manifest.settings.values()))
    settings = select(manifest, selection_of(args), estimates)
    if not settings:
        print("no setting is all of that")
        return 0
    width = max(len(setting.name) for setting in settings)
    print(f"{'setting':<{width}} {'in':<13} {'report':>13} {'one run':>8} {'done':>5}")
    total = missing = 0.0
    for setting in settings:
        row = manifest.row_of(setting.name)
        done = sum(run.final for run in store.counted(setting.name))
        seconds = estimates.seconds(setting.net, setting.work)
        total += seconds * len(setting.counted)
        missing += seconds * max(0, len(setting.counted) - done)
        print(
            f"{setting.name:<{width}} {_where(manifest.uses(setting.name)):<13} "
            f"{row.printed if row else '':>13} {duration(seconds):>8} "
            f"{done:>3}/{len(setting.counted)}"
        )
    print(
        f"{len(settings)} settings; all their runs take {duration(total)} on one core, "
        f"the missing ones {duration(missing)}"
    )
    return 0


def _where(uses: list[str]) -> str:
    """Table 1, row 11 as T1.11 and Figure 7a as F7a; in brackets what is another reading."""
    words = []
    for use in uses:
        place, _, other = use.partition(", ")
        parts = place.split()
        word = f"T{parts[4]}.{parts[1]}" if parts[0] == "row" else f"F{parts[1]}"
        words.append(f"({word})" if other else word)
    return " ".join(words) if len(" ".join(words)) <= 13 else f"{words[0]} ..."
