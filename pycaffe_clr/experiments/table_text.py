"""The lines of a table as text for a terminal, Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import math
import textwrap
from collections.abc import Callable, Sequence
from itertools import groupby

from pycaffe_clr.experiments.table_notes import notes_of
from pycaffe_clr.experiments.tables import TITLES, Line

WIDTH = 80
CSV_COLUMNS = (
    "row", "architecture", "dataset", "lr", "momentum", "weight_decay", "total_batch", "epochs",
    "report_mean", "report_sd", "mean", "sd", "n", "difference_se", "p",
)  # fmt: skip
Column = tuple[str, str, Callable[[Line], str]]

_RESULTS: list[Column] = [
    ("report", ">", lambda line: line.report),
    ("ours", ">", lambda line: line.ours),
    ("n", ">", lambda line: str(line.outcome.n)),
    ("diff/SE", ">", lambda line: line.difference),
    ("p", ">", lambda line: line.p),
]
_LABEL: Column = ("", ">", lambda line: line.label)
_RATES: list[Column] = [
    ("LR/SS", "<", lambda line: line.lr),
    ("momentum/SS", "<", lambda line: line.momentum),
]
_COSTS: list[Column] = [
    ("whole test", ">", lambda line: line.whole),
    ("time", ">", lambda line: line.time),
    ("images/s", ">", lambda line: line.speed),
]
_EPOCHS: Column = ("epochs", ">", lambda line: f"{line.setting.epochs:g}")
_BATCH: Column = ("TBS", ">", lambda line: str(line.setting.total_batch))
_DECAY: Column = ("WD", "<", lambda line: line.weight_decay)


def terminal(table: int, lines: Sequence[Line]) -> str:
    """For 80 columns: results, then what they cost, then the notes."""
    epochs: list[Column] = [] if table == 1 else [("ep", *_EPOCHS[1:])]
    first = _fitted([_LABEL, *_RATES, *epochs, *_RESULTS], lines)
    parts = [TITLES[table], "", *first[:2]]
    heads = [_head(table, line) for line in lines]
    for head, group in groupby(zip(heads, first[2:], strict=True), key=lambda pair: pair[0]):
        parts += [head, *(text for _, text in group)]
    parts += ["", "The runs' setting, the whole test set after training, wall time and speed", ""]
    setting: Column = ("setting", "<", lambda line: line.setting.name)
    through = [line for line in lines if not line.outcome.missing]
    parts += _fitted([_LABEL, setting, *_COSTS], through) if through else ["none yet"]
    parts.append("")
    for note in notes_of(lines, readings=False):
        parts += textwrap.wrap(note, WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join(line.rstrip() for line in parts)


def _head(table: int, line: Line) -> str:
    """What the lines of one block have in common."""
    columns = line.row.columns
    head = f"{line.architecture} on {line.dataset}, weight decay {columns['WD']}"
    if table == 1:
        batch, epochs = columns["TBS/epochs"].split("/")
        head += f", total batch {batch}, {epochs} epochs"
    return head


def _fitted(columns: Sequence[Column], lines: Sequence[Line]) -> list[str]:
    """Titles, a rule and the lines, each column as wide as its widest cell.

    A line of another reading says in words what it is, in place of what the report prints.
    """
    titles = [title for title, _, _ in columns]
    cells = [[cell(line).replace(" ± ", "±") for _, _, cell in columns] for line in lines]
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
    at = titles.index("ours") if "ours" in titles else 0
    room = sum(widths[1:at]) + at - 2
    if at:
        wider = max((len(f"or {line.reading}") for line in lines if line.reading), default=0) - room
        widths[at - 2] += max(0, wider)
        room += max(0, wider)

    def row(texts: Sequence[str]) -> list[str]:
        aligned = zip(texts, columns, widths, strict=True)
        return [f"{text:{side}{width}}" for text, (_, side, _), width in aligned]

    found = [" ".join(row(titles)), "-" * (sum(widths) + len(widths) - 1)]
    for line, texts in zip(lines, cells, strict=True):
        parts = row(texts)
        if line.reading and at:
            parts[1:at] = [f"or {line.reading}".ljust(room)]
        found.append(" ".join(parts))
    return found


def _wide() -> list[Column]:
    names: list[Column] = [
        ("data set", "<", lambda line: line.dataset),
        ("architecture", "<", lambda line: line.architecture),
    ]
    return [_LABEL, *names, *_RATES, _DECAY, _BATCH, _EPOCHS, *_RESULTS, *_COSTS]


def markdown(table: int, lines: Sequence[Line]) -> str:
    """A Markdown table with all columns, and the notes as a list."""
    columns = _wide()
    found = [f"**{TITLES[table]}**", ""]
    found.append(f"| {' | '.join(title or 'row' for title, _, _ in columns)} |")
    found.append(f"|{'|'.join('---:' if side == '>' else '---' for _, side, _ in columns)}|")
    found += [f"| {' | '.join(cell(line) for _, _, cell in columns)} |" for line in lines]
    return "\n".join([*found, "", *(f"- {note}" for note in notes_of(lines))])


_LATEX = {
    "\\": r"\textbackslash{}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "<": r"$<$",
}  # fmt: skip


def tex(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return "".join(_LATEX.get(character, character) for character in text)


def latex(table: int, lines: Sequence[Line]) -> str:
    """A table environment that needs no packages, its notes below the table."""
    columns = [column for column in _wide() if column[0] not in ("time", "images/s")]
    sides = "".join("r" if side == ">" else "l" for _, side, _ in columns)
    found = [r"\begin{table}", r"\centering\footnotesize", rf"\caption{{{tex(TITLES[table])}}}"]
    found += [rf"\begin{{tabular}}{{{sides}}}", r"\hline"]
    found += [" & ".join(tex(title) for title, _, _ in columns) + r" \\", r"\hline"]
    before = ""
    for line in lines:
        name = line.dataset + line.architecture
        if before and name != before:
            found.append(r"\hline")
        before = name
        found.append(" & ".join(tex(cell(line)) for _, _, cell in columns) + r" \\")
    found += [r"\hline", r"\end{tabular}", r"\par\raggedright"]
    found += [tex(note) + r"\par" for note in notes_of(lines)]
    return "\n".join([*found, r"\end{table}"])


def comma_separated(lines: Sequence[Line], readings: bool = False) -> str:
    """CSV with the columns CSV_COLUMNS; cells without a number are empty.

    readings: also the other readings, below their row; else the report's rows alone.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for line in lines:
        if line.reading and not readings:
            continue
        accuracy, digits = line.outcome.accuracy, line.row.digits
        writer.writerow([
            line.label, line.architecture, line.dataset, _bare(line.lr), _bare(line.momentum),
            line.weight_decay, line.setting.total_batch, f"{line.setting.epochs:g}",
            f"{line.row.report_mean:.{digits}f}", f"{line.row.report_sd:.{digits}f}",
            _number(accuracy.mean), _number(accuracy.sd), accuracy.n,
            _number(line.comparison.t), _number(line.comparison.p),
        ])  # fmt: skip
    return stream.getvalue().rstrip("\n")


def _bare(printed: str) -> str:
    """A rate without the stepsize of its cycle, but with a policy: "0.08-0.8", "0.01/inv"."""
    value, _, tail = printed.partition("/")
    return value if tail.replace(".", "").isdigit() else printed


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def render(table: int, lines: Sequence[Line], form: str, readings: bool = False) -> str:
    """A table in one of FORMATS."""
    if form == "csv":
        return comma_separated(lines, readings)
    return {"terminal": terminal, "markdown": markdown, "latex": latex}[form](table, lines)


FORMATS = ("terminal", "markdown", "csv", "latex")
