"""Other readings of a figure: what the report may have drawn where its sources leave it open.

A reading is what some curves have in common that differs from what is drawn by default, such as
another batch size; it makes a figure of its own with the same panels, colours and claims.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pycaffe_clr.experiments.manifest import Curve, Figure, Manifest, Panel, Setting
from pycaffe_clr.experiments.tables import reading_of


def readings_of(manifest: Manifest, number: int) -> dict[str, Figure]:
    """The other readings of a figure, each by its difference in words: "total batch 128"."""
    figure = manifest.figures[number]
    found: dict[str, dict[str, str]] = {}
    for panel in figure.panels.values():
        drawn = {curve.setting for curve in panel.curves}
        for curve in panel.curves:
            # What another line of the panel shows is no other figure.
            for other in set(curve.alternates) - drawn:
                words = _words(manifest.setting(other), manifest.setting(curve.setting))
                found.setdefault(words, {})[curve.id] = other
    return {words: _read(figure, words, settings) for words, settings in sorted(found.items())}


def _words(other: Setting, main: Setting) -> str:
    """As reading_of; one reading for all curves whose momentum stays where its cycle starts."""
    if main.cycling and other.momentum == main.momentum[:1]:
        return "momentum constant at its start"
    return reading_of(other, main)


def _read(figure: Figure, words: str, settings: Mapping[str, str]) -> Figure:
    """The figure with the panels that have such curves. settings: of these, by the curve's id."""
    panels = {
        letter: _panel(panel, settings)
        for letter, panel in figure.panels.items()
        if any(curve.id in settings for curve in panel.curves)
    }
    drawn = {curve.id for panel in panels.values() for curve in panel.curves}
    claims = tuple(c for c in figure.claims if set(c.of) <= drawn and set(c.of) & set(settings))
    caption = f"Read otherwise: {words}. {figure.caption}"
    return replace(figure, caption=caption, panels=panels, claims=claims)


def _panel(panel: Panel, settings: Mapping[str, str]) -> Panel:
    return replace(panel, curves=tuple(_curve(curve, settings) for curve in panel.curves))


def _curve(curve: Curve, settings: Mapping[str, str]) -> Curve:
    return replace(curve, setting=settings.get(curve.id, curve.setting), alternates=())
