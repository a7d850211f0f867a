"""The HTML report: one page with tables, figures, claims, assumptions, runs and environment.

It needs nothing but itself: no fonts, scripts, styles or pictures from elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pycaffe_clr.errors import DataError
from pycaffe_clr.experiments import report_html as html
from pycaffe_clr.experiments import report_runs, report_tables
from pycaffe_clr.experiments.claims import check_table_claims
from pycaffe_clr.experiments.figures import sheet, style
from pycaffe_clr.experiments.figures.captions import named
from pycaffe_clr.experiments.figures.text import typeset
from pycaffe_clr.version import package_version

if TYPE_CHECKING:
    from pycaffe_clr.experiments.figures.album import Album
    from pycaffe_clr.experiments.store import StoredRun

_TITLE = "Learning rate, batch size, momentum and weight decay: the report and ours"
_FOLDER = Path(__file__).parent


def write(path: Path, album: Album) -> int:
    """Write the page; returns its size in bytes. Raises DataError."""
    if not path.parent.is_dir():
        raise DataError(f"{path}: cannot be written: there is no folder {path.parent}")
    text = page(album)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from error
    return len(text.encode())


def page(album: Album) -> str:
    """The whole page."""
    manifest, store = album.manifest, album.curves.store
    runs = [run for name in manifest.settings for run in store.runs(name)]
    parts = [
        ("tables", "Tables", report_tables.tables(manifest, store)),
        ("figures", "Figures", figures(album)),
        ("claims", "Claims of the report", claims(album)),
        ("assumed", "What was assumed", report_runs.assumptions(manifest)),
        ("runs", "Runs", report_runs.details(manifest, store)),
        ("environment", "Environment", report_runs.environment(runs)),
    ]
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title, _ in parts)
    body = "\n".join(html.section(name, title, text) for name, title, text in parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_TITLE}</title>\n<style>{stylesheet()}</style></head>\n<body>\n"
        f"{_opening(album, runs)}\n<nav>{links}</nav>\n{body}\n"
        f'<dialog aria-label="A figure, enlarged"><div></div><button>Close</button></dialog>\n'
        f"<script>{_read('js')}</script>\n</body>\n</html>\n"
    )


def stylesheet() -> str:
    """The page's style, with the colours that curves take on dark paper."""
    tones = {f"tone-{i}": dark for i, dark in enumerate(style.DARK_TONES.values())}
    curves = {f"curve-{name}": dark for name, dark in style.DARK.items()}
    dark = " ".join(f"--{name}: {value};" for name, value in {**tones, **curves}.items())
    return _read("css").replace("/* tones */", dark)


def _read(kind: str) -> str:
    return (_FOLDER / f"report_page.{kind}").read_text(encoding="utf-8")


def _opening(album: Album, runs: Sequence[StoredRun]) -> str:
    """Title, what the page is, and how far the runs go."""
    manifest, store = album.manifest, album.curves.store
    rows = [row for rows in manifest.tables.values() for row in rows]
    begun = [store.counted(row.setting) for row in rows]
    drawn = [curve for number in manifest.figures for curve in album.drawn(number)]
    counts = {
        "rows of the tables with runs": (sum(map(bool, begun)), len(rows)),
        "curves with runs": (sum(not c.missing for c in drawn), len(drawn)),
        "runs that are through": (sum(run.final for run in runs), len(runs)),
    }
    told = "".join(
        f"<div><dt>{name}</dt><dd>{some} of {all_of}</dd></div>"
        for name, (some, all_of) in counts.items()
    )
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    banner = f"<p><strong>{html.escape(album.banner)}</strong></p>" if album.banner else ""
    return (
        f"<header><h1>{_TITLE}</h1>\n"
        "<p>Leslie N. Smith's report arXiv:1803.09820, its tables and figures, made again with "
        f"pycaffe_clr {html.escape(package_version())}. Written {now}.</p>{banner}"
        f'<dl class="counts">{told}</dl></header>'
    )


def figures(album: Album) -> str:
    """All figures, panel by panel, so that they stand one below the other on a phone."""
    return "\n".join(_figure(album, number) for number in album.manifest.figures)


def _figure(album: Album, number: int) -> str:
    title = f"Figure {number}: {html.escape(album.figure(number).title)}"
    parts = [f'<h3 id="figure-{number}">{title}</h3>', _drawing(album, number, f"f{number}")]
    for place, (words, other) in enumerate(album.readings(number).items()):
        drawing = _drawing(other, number, f"f{number}-{place + 2}")
        summary = html.escape(f"Figure {number}, read otherwise: {words}")
        parts.append(f"<details><summary>{summary}</summary>{drawing}</details>")
    return "\n".join(parts)


def _drawing(album: Album, number: int, prefix: str) -> str:
    """The panels of a figure and its caption. prefix: of the names in it."""
    panels = []
    cells = album.cells(number)
    for place, cell in enumerate(cells):
        beside = cells[place - place % 2 :][:2]
        head = max(map(sheet.head_of, beside))
        drawing = sheet.render([cell], banner=album.banner, scale=album.curves.scale, head=head)
        picture = sheet.svg(drawing, f"{prefix}{cell.letter}")
        label = html.escape(f"Figure {number}{cell.letter}: {cell.panel.title}; enlarge")
        panels.append(f'<button class="panel" aria-label="{label}">{picture}</button>')
    first, *rest = album.caption(number)
    ours = "".join(f"<p>{html.escape(text)}</p>" for text in rest)
    return (
        f'<figure><div class="panels">{"".join(panels)}</div>\n'
        f"<figcaption><p>{html.escape(first)}</p>{ours}</figcaption></figure>"
    )


def claims(album: Album) -> str:
    """What the report says of its figures and tables, and whether these runs say so."""
    manifest, store = album.manifest, album.curves.store
    found = [
        (f"Table {number}", verdict, verdict.why)
        for number in manifest.table_claims
        for verdict in check_table_claims(number, store)
    ]
    found += [
        (f"Figure {number}", verdict, named(verdict.why, figure))
        for number, figure in manifest.figures.items()
        for verdict in album.verdicts(number)
    ]
    rows = [
        html.row([
            html.cell(place),
            html.cell(verdict.word, _KINDS[verdict.held]),
            html.cell(typeset(verdict.claim.says), "wrap"),
            html.cell(typeset(why), "wrap"),
        ])
        for place, verdict, why in found
    ]  # fmt: skip
    counts = Counter(verdict.held for _, verdict, _ in found)
    told = (
        f"<p>Of {len(found)} claims {counts[True]} hold in these runs, {counts[False]} do not, and "
        f"of {counts[None]} these runs cannot say.</p>"
    )
    return told + html.table(["about", "ours", "the report says", "why"], rows)


_KINDS = {True: "held", False: "failed", None: "open"}
