"""The settings of a recipe beside those of the solver it was found for, at 80 columns."""

from __future__ import annotations

import textwrap

from pycaffe_clr.experiments.recipe import Recipe

_NAMES = {"net": "batch", "lr_policy": "policy"}


def table(found: Recipe) -> str:
    """A line per setting: what the solver has, what was found; the reason below."""
    lines = [f"{'':<18}{'the solver':>16}{'found':>16}", "-" * 80]
    for field, chosen in found.chosen.items():
        before = found.before.get(field, "-") or "-"
        value = chosen.text or found.batch
        lines.append(f"{_NAMES.get(field, field):<18}{before:>16}{value:>16}")
        lines += textwrap.wrap(chosen.reason, 80, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)
