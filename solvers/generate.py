"""Writes one solver per setting of the report's manifest (pycaffe_clr/experiments/report).

`python solvers/generate.py` writes what has changed; with --check it only says what would change
and ends with code 1 if anything would. Numbers are changed in the manifest, never here.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
try:
    from pycaffe_clr.experiments.manifest import Manifest, Setting, load, short
except ImportError:  # not installed: the manifest needs nothing compiled
    sys.path.insert(0, str(HERE.parent))
    from pycaffe_clr.experiments.manifest import Manifest, Setting, load, short

REPORT = "Smith 2018 (arXiv:1803.09820)"
POLICIES = {"step": "multistep", "range": "triangular", "exponential": "step"}


def fields_of(setting: Setting) -> dict[str, Any]:
    """The fields of a solver in the order in which they are written."""
    found: dict[str, Any] = {"net": f"prototxt/{setting.net}.prototxt"}
    if setting.replicas > 1:
        found["replicas"] = setting.replicas
    found |= {
        "test_iter": setting.test_iter,
        "test_interval": setting.test_interval,
        "test_initialization": False,
        "display": setting.display or setting.test_interval,
    }
    if setting.average_loss > 1:
        found["average_loss"] = setting.average_loss
    found |= {"lr_policy": POLICIES.get(setting.policy, setting.policy), "base_lr": setting.lr[0]}
    if len(setting.lr) == 2:
        found["max_lr"] = setting.lr[1]
    if setting.gamma:
        found["gamma"] = setting.gamma
    if setting.power:
        found["power"] = setting.power
    if setting.stepvalues:
        found["stepvalue"] = list(setting.stepvalues)
    elif setting.stepsize and setting.policy != "fixed":
        found["stepsize"] = setting.stepsize
    found |= {"max_iter": setting.max_iter, "snapshot": setting.snapshot or setting.max_iter}
    found |= {"type": setting.type, "momentum": setting.momentum[0]}
    if setting.cycling:
        found["cyclical_momentum"] = [setting.momentum[1], setting.momentum_stepsize]
    found["weight_decay"] = setting.weight_decay
    if setting.random_seed >= 0:
        found["random_seed"] = setting.random_seed
    return found | {"snapshot_prefix": setting.name}


def comment_of(manifest: Manifest, setting: Setting) -> str:
    """What a solver is, where the report has it and what it found, what is assumed."""
    name = setting.name
    uses = [use for use in manifest.uses(name) if not use.endswith("another reading")]
    others = [use for use in manifest.uses(name) if use.endswith("another reading")]
    if uses or others:
        where = f"{REPORT}, {joined(uses or others[:1])}: "
    elif name == "lenet_sample":
        where = ""
    elif "log" in {setting.sources[key].kind for key in ("weight_decay", "momentum")}:
        where = f"A run of the author's public logs for {REPORT}: "
    else:
        where = f"{REPORT}, in its text only: "
    length = f"{setting.epochs:g} epochs" if setting.stepsize_epochs else lengths(setting)
    text = (
        f"{where}{setting.title}, {setting.words}, weight decay {short(setting.weight_decay)}, "
        f"total batch {setting.total_batch}, {length}."
    )
    row = manifest.row_of(name)
    if row:
        place = "" if name == row.setting else f" in row {row.number} of table {row.table}"
        text += f" The report has {row.printed} %{place}."
        if name == row.setting and row.alternates:
            text += f" Other readings: {', '.join(row.alternates)}."
    if setting.start:
        before, iteration = setting.start
        text += f" Goes on from iteration {iteration:,} of {before} (run --snapshot)."
    for note in setting.notes:
        text += f" {note}"
    open_points = [found for found in manifest.disagreements_of(name) if found.comment]
    if open_points:
        text += " The sources disagree."
    for found in open_points:
        text += f" {found.about}: {found.used}; or: {found.other}."
    if setting.assumed and name != "lenet_sample":
        text += f" Assumed: {', '.join(words_of(field) for field in setting.assumed)}."
    return text


def joined(uses: list[str]) -> str:
    """ "figure 6a", "figure 6b" as figures 6a and 6b."""
    figures = [use.removeprefix("figure ") for use in uses if use.startswith("figure ")]
    words = [use for use in uses if not use.startswith("figure ")]
    if len(figures) > 1:
        words.append(f"figures {', '.join(figures[:-1])} and {figures[-1]}")
    elif figures:
        words.append(f"figure {figures[0]}")
    return ", ".join(words)


def lengths(setting: Setting) -> str:
    epochs = round(setting.epochs, 1)
    if setting.epochs == int(setting.epochs):
        return f"{epochs:g} epochs"
    return f"{setting.max_iter:,} iterations ({epochs:g} epochs)"


WORDS = {"lr": "learning rate", "type": "solver type", "max_iter": "length", "epochs": "length"}
WORDS |= {"start": "place of the snapshot", "tests": "how it is tested"}


def words_of(field: str) -> str:
    return WORDS.get(field, field).replace("_", " ")


def text_of(manifest: Manifest, setting: Setting) -> str:
    """The prototxt text of one solver."""
    glued = comment_of(manifest, setting).replace(" +- ", "~+-~").replace(" %", "~%")
    lines = [f"# {line}" for line in textwrap.wrap(glued, 98, break_on_hyphens=False)]
    lines = [line.replace("~", " ") for line in lines]
    for field, value in fields_of(setting).items():
        for item in value if isinstance(value, list) else [value]:
            lines.append(f"{field}: {scalar(item)}")
    return "\n".join(lines) + "\n"


def scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else short(value)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    manifest = load()
    texts = {
        HERE / f"{name}.prototxt": text_of(manifest, setting)
        for name, setting in manifest.settings.items()
    }
    changed = [p for p, text in texts.items() if not p.exists() or p.read_text() != text]
    stale = [path for path in HERE.glob("*.prototxt") if path not in texts]
    for path in changed:
        if not check:
            path.write_text(texts[path])
        print(("differs: " if check else "wrote ") + path.name)
    for path in stale:
        print(f"is of no setting: {path.name}")
    return 1 if check and (changed or stale) else 0


if __name__ == "__main__":
    raise SystemExit(main())
