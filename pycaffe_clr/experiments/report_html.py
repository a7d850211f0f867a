"""Small pieces of HTML for the report: escaped text, tables that scroll by themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["cell", "escape", "heading", "items", "row", "section", "table"]


def cell(text: str, kind: str = "") -> str:
    """One cell of a table. kind: "number" (to the right), "wrap" (may have several lines) or
    another class of the page's style; text is escaped."""
    return f'<td class="{kind}">{escape(text)}</td>' if kind else f"<td>{escape(text)}</td>"


def row(cells: Iterable[str], kind: str = "") -> str:
    """A row of cells that are HTML already."""
    opening = f'<tr class="{kind}">' if kind else "<tr>"
    return f"{opening}{''.join(cells)}</tr>"


def heading(text: str, columns: int) -> str:
    """A row across the table that names the rows below it."""
    return f'<tr class="group"><th colspan="{columns}" scope="rowgroup">{escape(text)}</th></tr>'


def table(
    head: Sequence[str], rows: Iterable[str], numbers: Sequence[int] = (), caption: str = ""
) -> str:
    """A table in a box of its own that scrolls sideways where it is wider than the page.

    numbers: columns whose head stands to the right, above numbers.
    """
    kinds = [' class="number"' if i in numbers else "" for i in range(len(head))]
    heads = "".join(
        f'<th scope="col"{kind}>{escape(name)}</th>' for name, kind in zip(head, kinds, strict=True)
    )
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    body = "\n".join(rows)
    return (
        f'<div class="scroll" tabindex="0"><table>{said}<thead><tr>{heads}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def items(texts: Iterable[str]) -> str:
    """A list of HTML texts."""
    return "<ul>" + "".join(f"<li>{text}</li>" for text in texts) + "</ul>"


def section(name: str, title: str, body: str) -> str:
    """A part of the page that its contents link to."""
    return f'<section id="{name}"><h2>{escape(title)}</h2>\n{body}</section>'
