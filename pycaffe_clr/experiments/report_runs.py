"""The report's details: every run on disk, what ran it, and what was assumed for it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pycaffe_clr.experiments import report_html as html
from pycaffe_clr.experiments.manifest import short
from pycaffe_clr.experiments.outcome import time_of

if TYPE_CHECKING:
    from pycaffe_clr.experiments.manifest import Manifest, Setting
    from pycaffe_clr.experiments.store import Store, StoredRun

_HEAD = (
    "run", "state", "last test (%)", "whole test set (%)", "iterations", "seconds", "images/s",
    "peak MB", "batch", "filler", "seed",
)  # fmt: skip


_FAILED = ("diverged", "failed", "killed")


def details(manifest: Manifest, store: Store) -> str:
    """A part for each setting that has runs, with a row per run."""
    parts = []
    for name, setting in manifest.settings.items():
        runs = store.runs(name)
        if runs:
            parts.append(_setting(manifest, setting, runs))
    without = sum(not store.runs(name) for name in manifest.settings)
    said = f"<p>{without} of the {len(manifest.settings)} settings have no run yet.</p>"
    return "\n".join([*parts, said if without else ""])


def _setting(manifest: Manifest, setting: Setting, runs: Sequence[StoredRun]) -> str:
    uses = ", ".join(manifest.uses(setting.name))
    title = f"<code>{html.escape(setting.name)}</code>: {html.escape(uses or 'for comparison')}"
    decay = f"weight decay {short(setting.weight_decay)}"
    said = f"{setting.title}: {setting.words}, {decay}, {_length(setting)}"
    table = html.table(_HEAD, [_run(setting, run) for run in runs], numbers=(*range(2, 9), 10))
    notes = html.items([html.escape(note) for note in setting.notes]) if setting.notes else ""
    count = f"{len(runs)} run{'s' if len(runs) > 1 else ''}"
    return (
        f"<details><summary>{title} ({count})</summary>"
        f"<p>{html.escape(said)}</p>{table}{notes}</details>"
    )


def _length(setting: Setting) -> str:
    iterations = f"{setting.max_iter:,} iterations"
    return f"{setting.epochs:g} epochs ({iterations})." if setting.epochs else f"{iterations}."


def _run(setting: Setting, run: StoredRun) -> str:
    if run.state == "unreadable":
        return html.row([html.cell(run.plan), html.cell(f"unreadable: {run.folder}", "failed")])
    record = run.record
    plan = next((plan for plan in setting.runs if plan.name == run.plan), None)
    seconds, speed = time_of(run)
    made = f"{run.iteration:,}"
    if run.iteration != run.max_iter:
        made += f" of {run.max_iter:,}"
    batch = record.get("batch") or (plan.batch * setting.replicas if plan else "")
    state = f"{run.state}, scaled by {run.scaled}" if run.scaled else run.state
    return html.row([
        html.cell(run.plan),
        html.cell(state, "failed" if run.state in _FAILED else "" if run.final else "open"),
        html.cell(_percent(run.final_accuracy), "number"),
        html.cell(_percent(run.whole_accuracy), "number"),
        html.cell(made, "number"),
        html.cell(_whole(seconds), "number"),
        html.cell(_whole(speed), "number"),
        html.cell(_whole(record.get("peak_memory_bytes", math.nan) / 1e6), "number"),
        html.cell(str(batch), "number"),
        html.cell((plan.filler or "of the file") if plan else ""),
        html.cell(str(record.get("seed", "")), "number"),
    ])  # fmt: skip


def environment(runs: Sequence[StoredRun]) -> str:
    """What made the runs - processors, versions, data - each with the number of its runs."""
    records = [run.record for run in runs if run.state != "unreadable"]
    machines = Counter(_machine(record) for record in records)
    data = Counter(_data(entry) for record in records for entry in record.get("data", ()))
    if not machines:
        return "<p>No runs.</p>"
    parts = [_machine_table(machine, count) for machine, count in machines.most_common()]
    if data:
        parts.append("<h3>Data</h3>" + _data_table(data))
    return "\n".join(parts)


Pairs = tuple[tuple[str, str], ...]


def _machine_table(machine: Pairs, count: int) -> str:
    rows = [html.row([html.cell(key), html.cell(value, "wrap")]) for key, value in machine]
    return html.table([f"{count} run{'s' if count > 1 else ''}", ""], rows)


def _data_table(found: Counter[Pairs]) -> str:
    rows = [
        html.row([html.cell(str(count), "number"), *(html.cell(value) for _, value in pairs)])
        for pairs, count in found.most_common()
    ]
    return html.table(["runs", *(key for key, _ in next(iter(found)))], rows, numbers=[0])


def _machine(record: Mapping[str, Any]) -> Pairs:
    processor = record.get("processor", {})
    device, precision = record.get("device", ""), record.get("precision", "fp32")
    how = [record.get("backend", ""), precision if precision != "fp32" else ""]
    pairs = {
        "processor": str(processor.get("model", "")),
        "GPU": str(record.get("gpu") or ""),
        "device": f"{device} ({', '.join(filter(None, how))})" if any(how) else str(device),
        "threads": str(record.get("threads", "")),
        "commit": str(record.get("git_commit") or "")[:12],
        **{name: str(value) for name, value in record.get("versions", {}).items()},
        "instruction sets": str(processor.get("features", "")),
    }
    return tuple((key, value) for key, value in pairs.items() if value)


def _data(entry: Mapping[str, Any]) -> Pairs:
    return (
        ("database", str(entry.get("source", ""))),
        ("bytes", f"{entry.get('bytes', 0):,}"),
        ("CRC-32", f"{entry.get('crc32', '')}, of {entry.get('crc32_of', '')}"),
    )


def assumptions(manifest: Manifest) -> str:
    """What neither the report nor the author's files give: the value taken, and why."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for name, setting in manifest.settings.items():
        for field, why in setting.assumed.items():
            by_reason.setdefault((field.replace("_", " "), why), []).append(name)
    rows = [
        html.row([
            html.cell(field),
            html.cell(why, "wrap"),
            html.cell(_names(names), "wrap"),
        ])
        for (field, why), names in by_reason.items()
    ]  # fmt: skip
    assumed = html.table(["value", "what is assumed, and why", "settings"], rows)
    settled = [
        html.row([
            html.cell(d.id),
            html.cell(d.about, "wrap"),
            html.cell(d.used, "wrap"),
            html.cell(d.other, "wrap"),
            html.cell(d.why, "wrap"),
        ])
        for d in manifest.disagreements
    ]  # fmt: skip
    if not settled:
        return assumed
    return (
        f"{assumed}<h3>Where the report, its tables and the author's files disagree</h3>"
        + html.table(["", "about", "used", "the other", "why"], settled)
    )


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f}" if math.isfinite(fraction) else ""


def _whole(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else ""
