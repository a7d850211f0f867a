"""Checks what the report says of its figures and tables against finished runs.

A claim (manifest.Claim) names one of claim_checks.CHECKS and the curves or settings that it is
about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pycaffe_clr.experiments.claim_checks import CHECKS, OF_ENDS
from pycaffe_clr.experiments.claim_subject import Subject
from pycaffe_clr.experiments.manifest import Claim, Figure, Manifest, load
from pycaffe_clr.experiments.store import Store


@dataclass(frozen=True)
class Verdict:
    """What the runs say of a claim. held: None where they cannot say. why: with the numbers."""

    claim: Claim
    held: bool | None
    why: str

    @property
    def word(self) -> str:
        """ "held", "not held" or "cannot say"."""
        return {True: "held", False: "not held", None: "cannot say"}[self.held]


def check_claims(figure: Figure | int, store: Store) -> list[Verdict]:
    """A verdict on each of the report's claims about a figure, from the finished runs."""
    manifest = load()
    found = manifest.figures[figure] if isinstance(figure, int) else figure
    axes = {
        curve.id: (panel.x, curve.y, curve.setting)
        for panel in found.panels.values()
        for curve in panel.curves
    }
    return [_verdict(claim, manifest, store, axes) for claim in found.claims]


def check_table_claims(table: int, store: Store) -> list[Verdict]:
    """A verdict on each of the report's claims about a table, from the finished runs."""
    manifest = load()
    return [_verdict(claim, manifest, store, {}) for claim in manifest.table_claims[table]]


def _verdict(
    claim: Claim, manifest: Manifest, store: Store, axes: Mapping[str, tuple[str, str, str]]
) -> Verdict:
    subjects = []
    for name in claim.of:
        x, y, setting = axes.get(name, ("iteration", claim.y or "accuracy", name))
        # A claim may be about another quantity than its curves show.
        subjects.append(Subject(name, manifest.setting(setting), x, claim.y or y, store))
    missing = list(dict.fromkeys(s.setting.name for s in subjects if not s.runs))
    if missing:
        return Verdict(claim, None, f"no finished run of {', '.join(missing)}")
    untested = [s.name for s in subjects if not s.curves]
    if untested and claim.check not in OF_ENDS:
        return Verdict(claim, None, f"no test of {', '.join(untested)} before it diverged")
    held, why = CHECKS[claim.check](subjects, claim.values)
    return Verdict(claim, held, why)
