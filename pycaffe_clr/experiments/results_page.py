"""The README of packed results: every number in it is read from the runs beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from pycaffe_clr.atomic import write_atomically
from pycaffe_clr.durations import duration
from pycaffe_clr.experiments import momentum_page
from pycaffe_clr.experiments.manifest import Manifest
from pycaffe_clr.experiments.outcome import Outcome, outcome_of, time_of
from pycaffe_clr.experiments.store import Store, StoredRun
from pycaffe_clr.experiments.table_text import markdown
from pycaffe_clr.experiments.tables import lines_of

NAME = "README.md"
_HEAD = """\
# Results

Runs of the report's settings, packed: `<setting>/run<k>` is one run of the four-run protocol, and
`<setting>/file` one with the fillers of the net's own file. Each folder has `run.json`, the log,
`metrics.csv.gz` (loss, rates and momentum; thinned as `run.json` says), `tests.csv.gz` and the
solver and net that were trained. `pycaffe_clr.read_run` reads it like any run's folder, and the
tables, figures and `pycaffe_clr compare` take it from here.

This page is written by `pycaffe_clr experiment pack` from the runs in this folder.
"""


def write_page(root: Path, manifest: Manifest) -> Path:
    """Write the README of a folder of packed runs; its path. Raises DataError."""
    path = root / NAME
    write_atomically(path, [page(root, manifest).encode()])
    return path


def page(root: Path, manifest: Manifest) -> str:
    """The text of the README."""
    store = Store([root])
    parts = [_HEAD]
    in_tables = set()
    for number, rows in manifest.tables.items():
        parts += [markdown(number, lines_of(number, manifest, store)), ""]
        in_tables |= {name for row in rows for name in (row.setting, *row.alternates)}
    parts += [*momentum_page.section(manifest, store), ""]
    others = [name for name in store.settings() if name not in in_tables]
    if others:
        parts += [*_others(others, manifest, store), ""]
    parts += _runs(store)
    pages = sorted(path.parent.name for path in root.glob(f"*/{NAME}"))
    if pages:
        links = ", ".join(f"[{name}]({name}/{NAME})" for name in pages)
        parts += ["", f"With pages of their own: {links}."]
    return "\n".join(parts) + "\n"


def _others(names: list[str], manifest: Manifest, store: Store) -> Iterator[str]:
    yield "**Settings of the figures**"
    yield ""
    yield "| setting | where | n | accuracy in % | whole test | time |"
    yield "|---|---|---:|---:|---:|---:|"
    for name in names:
        if name in manifest.settings:
            outcome = outcome_of(manifest.settings[name], store)
            where = ", ".join(manifest.uses(name))
            values = [
                outcome.n,
                _mean(outcome),
                _mean(outcome, True),
                duration(outcome.seconds, unknown=""),
            ]
        else:
            where, values = "", [sum(run.final for run in store.counted(name)), "", "", ""]
        yield f"| [{name}]({name}) | {where} | {' | '.join(map(str, values))} |"


def _mean(outcome: Outcome, whole: bool = False) -> str:
    summary = outcome.whole if whole else outcome.accuracy
    if math.isnan(summary.mean):
        return ""
    return f"{summary.mean:.2f}" + ("" if math.isnan(summary.sd) else f" ± {summary.sd:.2f}")


def _runs(store: Store) -> Iterator[str]:
    yield "**Run by run** (accuracies in %)"
    yield ""
    titles = "run | state | iterations | batch | filler | seed | last test | whole test | time | on"
    yield f"| {titles} |"
    yield "|---|---|---:|---:|---|---:|---:|---:|---:|---|"
    for name in store.settings():
        for run in store.runs(name):
            yield f"| [{name}/{run.plan}]({name}/{run.plan}) | {' | '.join(_cells(run))} |"


def _cells(run: StoredRun) -> list[str]:
    if run.state == "unreadable":
        return [run.state, *[""] * 8]
    record = run.record
    seconds, _ = time_of(run)
    fillers = record.get("fillers", [record.get("spec", {}).get("filler", "")])
    processor = record.get("processor", {})
    model = processor.get("model", "") if isinstance(processor, dict) else str(processor)
    return [
        run.state,
        f"{run.iteration:,}",
        str(record.get("batch", "")),
        ", ".join(fillers),
        str(record.get("seed", "")),
        _percent(run.final_accuracy),
        _percent(run.whole_accuracy),
        duration(seconds, unknown=""),
        f"{model}, {record.get('threads', '?')} thread{'' if record.get('threads') == 1 else 's'}",
    ]


def _percent(fraction: float) -> str:
    return "" if math.isnan(fraction) else f"{100 * fraction:.2f}"
