"""Tables 1 and 2 on the HTML page."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import TYPE_CHECKING

from pycaffe_clr.experiments import report_html as html
from pycaffe_clr.experiments.figures.text import typeset
from pycaffe_clr.experiments.table_notes import notes_of
from pycaffe_clr.experiments.tables import TITLES, Line, lines_of

if TYPE_CHECKING:
    from pycaffe_clr.experiments.manifest import Manifest
    from pycaffe_clr.experiments.store import Store

# Heading, class of the cell, its text. What counts comes first: a phone shows few columns.
_COLUMNS: tuple[tuple[str, str, Callable[[Line], str]], ...] = (
    ("", "number", lambda line: line.label),
    ("learning rate", "", lambda line: typeset(line.lr)),
    ("momentum", "", lambda line: typeset(line.momentum)),
    ("report (%)", "number", lambda line: line.report),
    ("ours (%)", "number", lambda line: line.ours or "missing"),
    ("n", "number", lambda line: str(line.outcome.n)),
    ("diff. (s.e.)", "number", lambda line: line.difference.replace("-", "\N{MINUS SIGN}")),
    ("p", "number", lambda line: line.p),
    ("whole test set (%)", "number", lambda line: line.whole),
    ("epochs", "number", lambda line: f"{line.setting.epochs:g}"),
    ("total batch", "number", lambda line: str(line.setting.total_batch)),
    ("time of a run", "number", lambda line: line.time),
    ("images/s", "number", lambda line: line.speed),
    ("reading", "", lambda line: typeset(line.reading)),
)


def tables(manifest: Manifest, store: Store) -> str:
    """Both tables with their notes."""
    return "\n".join(_table(n, lines_of(n, manifest, store)) for n in manifest.tables)


def _table(number: int, lines: list[Line]) -> str:
    rows = []
    for head, group in groupby(lines, key=_head):
        rows.append(html.heading(head, len(_COLUMNS)))
        for line in group:
            cells = [html.cell(cell(line), kind) for _, kind, cell in _COLUMNS]
            rows.append(html.row(cells, "none" if line.outcome.missing else ""))
    numbers = [i for i, (_, kind, _) in enumerate(_COLUMNS) if kind == "number"]
    made = html.table([head for head, _, _ in _COLUMNS], rows, numbers)
    first, *rest = map(html.escape, notes_of(lines))
    notes = f"<details><summary>Notes</summary>{html.items(rest)}</details>" if rest else ""
    return f'<h3 id="table-{number}">{html.escape(TITLES[number])}</h3>{made}<p>{first}</p>{notes}'


def _head(line: Line) -> str:
    """What the lines of one block have in common."""
    return typeset(f"{line.architecture} on {line.dataset}, weight decay {line.weight_decay}")
