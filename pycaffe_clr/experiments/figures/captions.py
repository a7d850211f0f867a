"""The text under a figure: the report's caption in short, then what ours shows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pycaffe_clr.experiments.figures.curves import Drawn
from pycaffe_clr.experiments.figures.text import count, typeset

if TYPE_CHECKING:
    from pycaffe_clr.experiments.claims import Verdict
    from pycaffe_clr.experiments.manifest import Figure


def paragraphs(
    figure: Figure, curves: Sequence[Drawn], verdicts: Sequence[Verdict] = ()
) -> list[str]:
    """The caption's paragraphs. verdicts: on the report's claims about this figure."""
    made = [f"Figure {figure.number}. {figure.caption}"]
    first, *rest = [*_lines(curves), *_claims(figure, verdicts), ""]
    if first:
        sentences = [first, *(text[0].upper() + text[1:] for text in rest if text)]
        made.append("Ours: " + " ".join(sentences))
    if figure.notes:
        made.append("Note: " + " ".join(figure.notes))
    return [typeset(text) for text in made]


def _claims(figure: Figure, verdicts: Sequence[Verdict]) -> list[str]:
    """How many of the report's claims hold, and in words those that do not."""
    held = sum(verdict.held is True for verdict in verdicts)
    failed = [verdict for verdict in verdicts if verdict.held is False]
    if not held and not failed:
        return []
    judged = held + len(failed)
    claims = f"claim{'s' if judged > 1 else ''}"
    if not failed:
        verdict = "all hold" if judged > 1 else "it holds"
        return [f"{count(judged)} {claims} of the report can be judged by these runs; {verdict}."]
    holds = f"{count(held)} hold" if held > 1 else "one holds" if held else "none holds"
    said = f"of the report's {count(judged)} {claims} that these runs can judge {holds}"
    wrong = "; ".join(
        f"\N{LEFT DOUBLE QUOTATION MARK}{verdict.claim.says.rstrip('.')}"
        f"\N{RIGHT DOUBLE QUOTATION MARK} ({named(verdict.why, figure)})"
        for verdict in failed
    )
    return [f"{said}; not so: {wrong}."]


def named(text: str, figure: Figure) -> str:
    """A text with the labels of curves for their ids."""
    labels = {curve.id: curve.label for curve in figure.curves}
    return re.sub(
        r"F\d[\w.-]*\w",
        lambda found: (
            f"\N{LEFT SINGLE QUOTATION MARK}{labels[found[0]]}\N{RIGHT SINGLE QUOTATION MARK}"
            if found[0] in labels
            else found[0]
        ),
        text,
    )


def _lines(curves: Sequence[Drawn]) -> list[str]:
    """What the lines are made of, and what is missing."""
    if not curves:
        return []
    there = [c for c in curves if not c.missing]
    said = []
    if there:
        most = max(c.n for c in there)
        less = any(c.n < 4 for c in there)
        runs = f"{count(most)} run{'s' if most > 1 else ''}"
        if most > 1:
            said.append(
                f"lines are means of {'up to ' if less and most > 1 else ''}{runs}, "
                "bands one standard deviation."
            )
        else:
            said.append("each line is one run.")
    missing = len(curves) - len(there)
    if missing:
        all_of = "none of the" if not there else f"{count(missing)} of the"
        verb = "has" if (missing == 1 and there) or not there else "have"
        not_yet = "been run yet" if not there else "not been run yet"
        said.append(f"{all_of} {count(len(curves))} curves {verb} {not_yet}.")
    if any(c.author for c in curves):
        said.append("Thin lines are the author's own logs, a single run each.")
    said += _divergences(there)
    unfinished = sum(c.unfinished is not None for c in there)
    if unfinished:
        lines = "one line shows runs" if unfinished == 1 else f"{count(unfinished)} lines show runs"
        said.append(f"{lines} that have not ended.")
    left_out = sum({c.curve.setting: c.left_out for c in curves}.values())
    if left_out:
        runs = "run is" if left_out == 1 else "runs are"
        said.append(f"{count(left_out)} {runs} left out, of another length or damaged.")
    return said


def _divergences(curves: Sequence[Drawn]) -> list[str]:
    # Curves of one setting, drawn as loss and as accuracy, tell the same runs.
    found = {c.curve.setting: c for c in curves if c.diverged}
    if not found:
        return []
    parts = [f"{c.curve.label}: {len(c.diverged)} of {c.n}" for c in found.values()]
    return [
        f"Diverged runs ({'; '.join(parts)}; crosses say where) count at the accuracy of chance "
        "and leave the panel of a loss at its top."
    ]
