"""Reads report/*.toml into a Manifest: tasks, groups and settings, then tables and figures.

A setting's values come, later ones over earlier ones, from the setting that it is `like`, its task,
its group and itself. A value without a source is an error.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.experiments.manifest import (
    GAMMA,
    IMAGES,
    KINDS,
    SETTING_FIELDS,
    Claim,
    Curve,
    Disagreement,
    Figure,
    Manifest,
    Panel,
    Row,
    Setting,
    Source,
    iterations_of,
    step_values,
)
from pycaffe_clr.experiments.manifest_readings import Reading
from pycaffe_clr.experiments.protocol import RunPlan, file_plans, run_plans

FOLDER = Path(__file__).parent / "report"
SETTINGS = ("cifar3", "resnet56", "wide_dense", "lenet", "cifar100", "imagenet")
# Data key -> the field under whose name its source stands. What is not here needs no source.
SOURCED = {
    "net": "net",
    "batch": "total_batch",
    "extra": "total_batch",
    "type": "type",
    "policy": "policy",
    "lr": "lr",
    "stepsize": "stepsize",
    "stepsize_epochs": "stepsize_epochs",
    "momentum_stepsize": "momentum_stepsize",
    "stepvalues": "stepvalues",
    "gamma": "gamma",
    "power": "power",
    "epochs": "epochs",
    "max_iter": "max_iter",
    "momentum": "momentum",
    "weight_decay": "weight_decay",
    "test_iter": "tests",
    "test_interval": "tests",
    "start": "start",
}
NEEDED = {"policy", "lr", "momentum", "weight_decay", "net", "batch", "dataset", "type"}
NO_VALUES = {"like", "task", "source", "sources", "settings", "notes"}
# A length or a stepsize is given in one way; giving it in the other takes the first back.
RIVALS = {"epochs": "max_iter", "stepsize_epochs": "stepsize"}
RIVALS |= {second: first for first, second in RIVALS.items()}


def read(folder: Path = FOLDER) -> Manifest:
    """Read all files. Raises ConfigError that names the file and the entry."""
    settings: dict[str, Setting] = {}
    raw: dict[str, _Raw] = {}
    readings: list[Reading] = []
    for name in SETTINGS:
        data = _toml(folder / f"{name}.toml")
        tasks = data.get("tasks", {})
        for group in data["group"]:
            for setting, own in group["settings"].items():
                if setting in raw:
                    raise ConfigError(f"{name}.toml: setting {setting} is given twice")
                raw[setting] = _merge(setting, own, group, tasks, raw)
                settings[setting] = raw[setting].setting(setting)
        readings += map(Reading.read, data.get("reading", ()))
    tables = _toml(folder / "tables.toml")
    figures = _toml(folder / "figures.toml")
    made = Manifest(
        settings,
        {int(number): tuple(_rows(int(number), table)) for number, table in tables.items()},
        {int(n): _noted(_figure(int(n), entry), settings) for n, entry in figures.items()},
        {int(number): tuple(map(_claim, t.get("claims", ()))) for number, t in tables.items()},
        tuple(map(_disagreement, _toml(folder / "disagreements.toml")["disagreement"])),
    )
    for reading in readings:
        made = _with(made, reading)
    _check(made)
    return made


def _with(made: Manifest, reading: Reading) -> Manifest:
    return Manifest(
        {**made.settings, **reading.settings(made.settings.values())},
        {number: tuple(map(reading.row, rows)) for number, rows in made.tables.items()},
        {number: reading.figure(figure) for number, figure in made.figures.items()},
        made.table_claims,
        made.disagreements,
    )


class _Raw:
    """Values and sources of a setting while they are put together."""

    def __init__(self, before: _Raw | None = None) -> None:
        self.values: dict[str, Any] = dict(before.values) if before else {}
        self.sources: dict[str, str] = dict(before.sources) if before else {}
        self.notes: list[str] = []
        self.task: str = before.task if before else ""

    def lay(self, layer: Mapping[str, Any], *outer: Mapping[str, Any]) -> None:
        """Put a layer's values over those here; outer: layers whose sources hold for it, too."""
        for key, value in layer.items():
            if key in NO_VALUES:
                continue
            if key in RIVALS:
                self.values.pop(RIVALS[key], None)
                self.sources.pop(RIVALS[key], None)
            self.values[key] = value
            name = SOURCED.get(key)
            if name is None:
                continue
            given = [part for part in (layer, *outer) if name in part.get("sources", {})]
            default = next((p["source"] for p in (layer, *outer) if "source" in p), None)
            if given:
                self.sources[name] = given[0]["sources"][name]
            elif default and not (name == "tests" and name in self.sources):
                self.sources[name] = default
        self.sources |= layer.get("sources", {})
        self.notes += layer.get("notes", ())

    def setting(self, name: str) -> Setting:
        """The finished setting, with iterations, steps, runs and sources worked out."""
        values = dict(self.values)
        extra = tuple(values.pop("extra", ()))
        if unknown := set(values) - SETTING_FIELDS:
            raise ConfigError(f"setting {name}: unknown values: {', '.join(sorted(unknown))}")
        if absent := NEEDED - set(values):
            raise ConfigError(f"setting {name}: lacks {', '.join(sorted(absent))}")
        if not {"epochs", "max_iter"} & set(values):
            raise ConfigError(f"setting {name}: has no length; give epochs or max_iter")
        for key in ("lr", "momentum", "stepvalues", "start", "author"):
            if key in values:
                values[key] = tuple(values[key])
        total = values["batch"] * values.setdefault("replicas", 1)
        if "max_iter" in values:
            values["epochs"] = values["max_iter"] * total / IMAGES[values["dataset"]]
        else:
            values["max_iter"] = iterations_of(values["epochs"], values["dataset"], total)
        if "stepsize_epochs" in values:
            epochs = values["stepsize_epochs"]
            values["stepsize"] = iterations_of(epochs, values["dataset"], total)
        if values["policy"] == "range":
            values["stepsize"] = values["max_iter"]
        if len(values["momentum"]) == 2 and "stepsize" not in values:
            raise ConfigError(f"setting {name}: its momentum cycles without a stepsize")
        if len(values["momentum"]) == 2:
            values.setdefault("momentum_stepsize", values["stepsize"])
        else:
            values.pop("momentum_stepsize", None)
        if values["policy"] == "step":
            values.setdefault("stepvalues", step_values(values["max_iter"]))
            values.setdefault("gamma", GAMMA)
        sources = {SOURCED[key] for key in self.values if key in SOURCED}
        if missing := sources - set(self.sources):
            raise ConfigError(f"setting {name}: no source of {', '.join(sorted(missing))}")
        return Setting(
            name=name,
            runs=_runs(values, extra),
            sources={key: source(text) for key, text in self.sources.items() if key in sources},
            notes=tuple(self.notes),
            **values,
        )


def _merge(
    name: str,
    own: Mapping[str, Any],
    group: Mapping[str, Any],
    tasks: Mapping[str, Any],
    known: Mapping[str, _Raw],
) -> _Raw:
    like = own.get("like", group.get("like"))
    task = group["task"]
    if like is None:
        made = _Raw()
        for part in _ancestry(task, tasks):
            made.lay(part)
        made.task = task
    else:
        if like not in known:
            raise ConfigError(f"setting {name}: is like {like}, which does not come before it")
        made = _Raw(known[like])
        if made.task != task:
            made.lay(tasks[task])
            made.task = task
    made.lay(group)
    made.lay(own, group)
    return made


def _ancestry(task: str, tasks: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "like" in tasks[task]:
        yield from _ancestry(tasks[task]["like"], tasks)
    yield tasks[task]


def _runs(values: Mapping[str, Any], extra: tuple[int, ...]) -> tuple[RunPlan, ...]:
    batch, replicas = values["batch"], values["replicas"]
    protocol = values.get("protocol", "four")
    if protocol == "one":
        return (RunPlan("run1", None, batch, values.get("random_seed", 1)),)
    count = {"four": 4, "same batch": 4, "file fillers": 4, "two": 2}.get(protocol)
    if count is None:
        known = "four, same batch, file fillers, two, one"
        raise ConfigError(f"protocol {protocol!r} is unknown; known: {known}")
    plans = run_plans(batch, replicas, runs=count, same_batch=protocol == "same batch", extra=extra)
    return file_plans(plans) if protocol == "file fillers" else plans


def source(text: str) -> Source:
    """A source as the files write it: "kind: where". Raises ConfigError for another kind."""
    kind, _, where = text.partition(":")
    if kind not in KINDS or not where.strip():
        raise ConfigError(f"source {text!r}: expected one of {', '.join(KINDS)}, ':' and a place")
    return Source(kind, where.strip())


def _rows(number: int, table: Mapping[str, Any]) -> Iterator[Row]:
    names = table["columns"]
    alternates, notes = table.get("alternates", {}), table.get("notes", {})
    for count, (setting, *columns, mean, sd) in enumerate(table["rows"], 1):
        yield Row(
            number,
            count,
            setting,
            dict(zip(names, columns, strict=True)),
            mean,
            sd,
            tuple(alternates.get(str(count), ())),
            tuple(notes.get(str(count), ())),
        )


def _claim(entry: Mapping[str, Any]) -> Claim:
    known = {"says", "check", "of", "y"}
    values = {key: float(value) for key, value in entry.items() if key not in known}
    return Claim(entry["says"], entry["check"], tuple(entry["of"]), entry.get("y", ""), values)


def _figure(number: int, entry: Mapping[str, Any]) -> Figure:
    panels = {p["letter"]: _panel(number, p) for p in entry.get("panels", ())}
    claims = tuple(map(_claim, entry.get("claims", ())))
    notes = tuple(entry.get("notes", ()))
    return Figure(number, entry["title"], entry["caption"], panels, claims, notes)


def _noted(figure: Figure, settings: Mapping[str, Setting]) -> Figure:
    """The figure, and a note on the panels in which momentum cycles (I-41)."""
    panels = [
        letter
        for letter, panel in figure.panels.items()
        if any(settings[c.setting].cycling for c in panel.curves if c.setting in settings)
    ]
    if not panels:
        return figure
    where = "/".join(f"{figure.number}{letter}" for letter in panels)
    note = (
        f"{where}: cyclical momentum is applied here; in the author's runs it was most likely "
        "constant at its start (solvers/results)."
    )
    return replace(figure, notes=(*figure.notes, note))


def _panel(number: int, entry: Mapping[str, Any]) -> Panel:
    x, y = entry.get("x", "iteration"), entry["y"]
    return Panel(
        entry["letter"],
        entry["title"],
        x,
        y,
        entry.get("xlabel", {"iteration": "Iterations", "lr": "Learning rate"}.get(x, x.title())),
        entry.get("ylabel", _YLABELS.get(y, y)),
        _pair(entry.get("xlim")),
        _pair(entry.get("ylim")),
        tuple(_curve(number, entry, curve) for curve in entry.get("curves", ())),
    )


_YLABELS = {
    "test_loss": "Test loss",
    "train_loss": "Training loss",
    "accuracy": "Test accuracy (%)",
    "generalization": "Test loss minus training loss",
}


def _pair(value: Any) -> tuple[float, float] | None:
    return None if value is None else (float(value[0]), float(value[1]))


def _curve(number: int, panel: Mapping[str, Any], entry: Mapping[str, Any]) -> Curve:
    author = entry.get("author", ())
    return Curve(
        entry["id"],
        entry["label"],
        entry["setting"],
        entry.get("y", panel["y"]),
        entry.get("colour"),
        (author,) if isinstance(author, str) else tuple(author),
        tuple(entry.get("alternates", ())),
        source(entry.get("source", f"text: figure {number}{panel['letter']}")),
    )


def _disagreement(entry: Mapping[str, Any]) -> Disagreement:
    return Disagreement(**{**entry, "settings": tuple(entry["settings"])})


def _check(made: Manifest) -> None:
    """That every name which is used exists."""
    for number, rows in made.tables.items():
        for row in rows:
            for name in (row.setting, *row.alternates):
                if name not in made.settings:
                    raise ConfigError(f"table {number}, row {row.number}: no setting {name}")
    for figure in made.figures.values():
        for curve in figure.curves:
            for name in (curve.setting, *curve.alternates):
                if name not in made.settings:
                    raise ConfigError(f"figure {figure.number}, {curve.id}: no setting {name}")
    for setting in made.settings.values():
        if setting.start and setting.start[0] not in made.settings:
            raise ConfigError(
                f"setting {setting.name}: no setting {setting.start[0]} to go on from"
            )


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
