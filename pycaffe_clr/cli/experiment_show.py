"""`pycaffe_clr experiment show`: all that is known of one setting."""

from __future__ import annotations

import argparse
import math
import textwrap
from typing import TYPE_CHECKING

from pycaffe_clr.durations import duration
from pycaffe_clr.experiments.roots import add_roots

if TYPE_CHECKING:
    from pycaffe_clr.experiments.estimate import Estimates
    from pycaffe_clr.experiments.manifest import Manifest, Setting
    from pycaffe_clr.experiments.store import Store

WIDTH = 80


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `pycaffe_clr experiment show`."""
    parser.description = (
        "Where the report has a setting, each value with its source (text of the report, the "
        "author's logs, jobs and files, or assumed), where the sources disagree, its runs and "
        "what they cost."
    )
    parser.add_argument("names", nargs="+", metavar="SETTING", help="`experiment list` has them")
    add_roots(parser)


def main(args: argparse.Namespace) -> int:
    """Print the settings; raises ConfigError for an unknown one, else returns 0."""
    from pycaffe_clr.experiments.estimate import Estimates, measured_runs
    from pycaffe_clr.experiments.manifest import load
    from pycaffe_clr.experiments.store import open_store

    manifest, store = load(), open_store(args.roots)
    settings = [manifest.setting(name) for name in args.names]
    estimates = Estimates(measured_runs(store, manifest.settings.values()))
    print("\n\n".join(text_of(manifest, setting, store, estimates) for setting in settings))
    return 0


def text_of(manifest: Manifest, setting: Setting, store: Store, estimates: Estimates) -> str:
    """The page of one setting, 80 columns wide."""
    lines = [setting.name, *wrap(f"{setting.title}: {setting.words}.", "  ")]
    uses = manifest.uses(setting.name)
    if uses:
        lines += wrap(f"In the report: {', '.join(uses)}.", "  ")
    row = manifest.row_of(setting.name)
    if row:
        lines += wrap(f"The report has {row.printed} % there.", "  ")
        others = [name for name in (row.setting, *row.alternates) if name != setting.name]
        if others:
            lines += wrap(f"Other readings of that row: {', '.join(others)}.", "  ")
    if setting.start:
        before, iteration = setting.start
        lines += wrap(f"Goes on from iteration {iteration:,} of {before}.", "  ")
    for note in setting.notes:
        lines += wrap(note, "  ")
    lines += ["", "Values", *values(setting)]
    disagreements = manifest.disagreements_of(setting.name)
    if disagreements:
        lines += ["", "Where the report's sources disagree"]
    for found in disagreements:
        text = f"{found.id} {found.about}: {found.used}; other: {found.other}; {found.why}."
        lines += wrap(text, "  ", "       ")
    return "\n".join([*lines, "", "Runs", *runs(setting, store), *cost(setting, estimates)])


def values(setting: Setting) -> list[str]:
    """A line for each value with its source, long sources on lines of their own."""
    from pycaffe_clr.experiments.manifest import short

    shown = {
        "net": setting.net,
        "total_batch": f"{setting.total_batch}"
        + (f" ({setting.replicas} x {setting.batch})" if setting.replicas > 1 else ""),
        "type": setting.type,
        "policy": setting.policy,
        "lr": dashed(setting.lr),
        "stepsize_epochs": f"{setting.stepsize_epochs:g} ({setting.stepsize:,} it.)",
        "stepsize": f"{setting.stepsize:,}",
        "momentum_stepsize": f"{setting.momentum_stepsize:,}",
        "stepvalues": ", ".join(map(str, setting.stepvalues)),
        "gamma": f"{setting.gamma:g}",
        "power": f"{setting.power:g}",
        "momentum": dashed(setting.momentum),
        "weight_decay": short(setting.weight_decay),
        "epochs": f"{setting.epochs:g} ({setting.max_iter:,} it.)",
        "max_iter": f"{setting.max_iter:,} ({setting.epochs:.1f} epochs)",
        "tests": f"{setting.test_iter} x {setting.test_batch} every {setting.test_interval}",
        "start": f"iteration {setting.start[1]:,}" if setting.start else "",
    }
    lines = []
    for field, value in shown.items():
        if field in setting.sources:
            head, source = f"  {field:<17} {value:<22} ", str(setting.sources[field])
            if len(head + source) <= WIDTH:
                lines.append(head + source)
            else:
                lines += [head.rstrip(), *wrap(source, " " * 6)]
    return lines


def runs(setting: Setting, store: Store) -> list[str]:
    """A line for each run of the protocol: batch, filler, seed, and how far it is."""
    lines = []
    for plan in setting.runs:
        filler = plan.filler or "as in the file"
        batch = plan.batch * setting.replicas
        found = store.run(setting.name, plan.name)
        state = "missing"
        if found is not None:
            state = found.state
            if math.isfinite(found.final_accuracy):
                state += f", {100 * found.final_accuracy:.2f} %"
        note = "" if plan.counted else ", in no mean"
        lines += wrap(
            f"{plan.name}: total batch {batch}, {filler}, seed {plan.seed}{note}: {state}", "  "
        )
    mean = setting.mean_total_batch
    if mean != setting.total_batch:
        lines += wrap(
            f"Mean total batch: {mean:g}; all have {setting.max_iter:,} iterations.", "  "
        )
    return lines


def cost(setting: Setting, estimates: Estimates) -> list[str]:
    """How long a run takes on one core, by the speeds that are known."""
    seconds = estimates.seconds(setting.net, setting.work)
    text = f"One run trains on {setting.images:,} images"
    if setting.work > setting.images:
        text += f" and tests as long as {setting.work - setting.images:,.0f} more would take"
    if math.isfinite(seconds):
        text += f": about {duration(seconds)} on one core"
    return wrap(text + ".", "  ")


def dashed(ends: tuple[float, ...]) -> str:
    """One value, or two as a range: `0.08 to 0.8`."""
    return " to ".join(f"{end:g}" for end in ends)


def wrap(text: str, first: str, later: str | None = None) -> list[str]:
    """Lines of at most 80 columns, indented."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=first if later is None else later,
        break_on_hyphens=False,
        break_long_words=False,
    )
