"""Any set of runs by what people call them: folders, globs, logs, settings, the author's logs.

Runs of one configuration make one group, whose mean and spread are what is compared.
"""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pycaffe_clr.errors import ConfigError, DataError
from pycaffe_clr.experiments import author
from pycaffe_clr.experiments.logs import read_log
from pycaffe_clr.experiments.manifest import CLASSES, IMAGES, Manifest, load
from pycaffe_clr.experiments.outcome import log_in
from pycaffe_clr.experiments.store import FILE, Store, is_counted
from pycaffe_clr.train.result import RECORD, RunResult, read_run

AUTHOR = "author"
# What may differ between runs of one configuration: where they lie, how they began.
_OWN = ("out", "seed", "batch", "filler", "resume", "overwrite", "data_dir", "threads", "device",
        "checkpoint_every", "whole_test", "curve", "solver")  # fmt: skip


@dataclass(frozen=True)
class Group:
    """Runs of one configuration. label: what it is called. images, classes: of its data set, 0
    where not known."""

    label: str
    runs: tuple[RunResult, ...]
    images: int = 0
    classes: int = 0

    @property
    def through(self) -> bool:
        """Whether all runs are through; a log is taken as it is."""
        return all(run.final or run.state == "log" for run in self.runs)


def groups_of(words: Sequence[str], store: Store) -> list[Group]:
    """The groups that the words name, in their order.

    A word is the folder of a run, a folder that holds runs, a log, a pattern with * for any of
    them, the name of a setting (its runs in the store) or of one of the author's public logs (its
    beginning is enough), or "author": the author's logs of the settings named before it.
    `LABEL=WORD` puts all that the word names into one group of that label. Raises ConfigError for a
    word that names nothing, DataError where a run cannot be read.
    """
    found: dict[str, Group] = {}
    for word in words:
        label, word = _label(word)
        pairs = _author_of(list(found), load()) if word == AUTHOR else _resolve(word, store)
        for key, name, run in pairs:
            key = label or key
            group = found.get(key) or _group(label or name, run)
            if run.path not in [other.path for other in group.runs]:
                group = replace(group, runs=(*group.runs, run))
            found[key] = group
    return _with_clear_labels(found)


def _label(word: str) -> tuple[str, str]:
    label, equals, rest = word.partition("=")
    if equals and rest and not Path(word).exists() and "/" not in label:
        return label, rest
    return "", word


_Found = list[tuple[str, str, RunResult]]  # key of its group, the group's name, the run


def _resolve(word: str, store: Store) -> _Found:
    path = Path(word)
    if path.is_dir():
        found = _folder(path)
        if not found:
            raise ConfigError(f"{word}: holds no run: neither run.json nor folders with one")
        return found
    if path.is_file():
        run = read_log(path)
        return [(str(path), run.name, run)]
    if glob.has_magic(word):
        found = [one for name in sorted(glob.glob(word)) for one in _glob_match(Path(name))]
        if found:
            return found
        raise ConfigError(f"{word}: fits no run and no log")
    stored = [run for run in store.runs(word) if is_counted(run.plan)]
    if stored:
        return [(word, word, completed(run.result())) for run in stored]
    names = [name for name in author.names() if name.startswith(word)]
    if names:
        return [_author(name) for name in names]
    if word in load().settings:
        where = ", ".join(map(str, store.roots)) or "no folder of runs is there"
        raise ConfigError(f"{word}: no run of this setting lies in {where}")
    what = "neither a folder, a log, a pattern, a setting nor one of the author's logs"
    raise ConfigError(f"{word}: {what}. {load().near(word)}".rstrip(" ."))


def _glob_match(path: Path) -> _Found:
    if path.is_dir():
        return _folder(path)
    if path.name == RECORD:
        return _folder(path.parent)
    try:
        run = read_log(path)
    except DataError:
        return []  # a pattern fits pictures and tables as well
    return [(str(path), run.name, run)]


def _folder(path: Path) -> _Found:
    """The run in a folder, or the runs in the folders in it (and in theirs)."""
    if (path / RECORD).is_file():
        run = completed(read_run(path))
        return [(*_key(path, run), run)]
    found: _Found = []
    for inner in sorted(path.iterdir(), key=_natural):
        if inner.is_dir() and inner.name != FILE:
            if (inner / RECORD).is_file():
                found += _folder(inner)
            elif any((inner / plan / RECORD).is_file() for plan in ("run1", "run2")):
                found += _folder(inner)
    return found


def _natural(path: Path) -> list[tuple[str, int]]:
    """run2 before run10."""
    return [(word, int(digits or 0)) for word, digits in re.findall(r"(\D*)(\d*)", path.name)]


def completed(run: RunResult) -> RunResult:
    """A run with what its log knows and early records lack: batch size, seconds by iteration."""
    if run.batch and len(run.timings):
        return run
    try:
        log = read_log(log_in(run.path))
    except DataError:
        return run
    timings = run.timings if len(run.timings) else log.timings
    return replace(run, batch=run.batch or log.batch, timings=timings)


def _key(path: Path, run: RunResult) -> tuple[str, str]:
    """What runs of one configuration have in common, and what it is called."""
    folder = path.resolve()
    if is_counted(folder.name):
        return str(folder.parent), folder.parent.name
    if folder.name == FILE:
        return str(folder), f"{folder.parent.name}/{FILE}"
    spec = {k: v for k, v in run.record.get("spec", {}).items() if k not in _OWN}
    fixed = [run.name, run.max_iter, spec, run.record.get("sets"), run.record.get("defines")]
    return json.dumps(fixed, sort_keys=True, default=str), run.name


def _group(label: str, run: RunResult) -> Group:
    """An empty group, with what is known of its data set."""
    setting = load().settings.get(label) or load().settings.get(run.name)
    if setting is not None:
        return Group(label, (), IMAGES[setting.dataset], CLASSES[setting.dataset])
    return Group(label, (), run.images, classes_of(run))


def _author_of(keys: Sequence[str], manifest: Manifest) -> _Found:
    """The author's logs of the settings that were named."""
    named = {Path(key).name for key in keys}
    logs = dict.fromkeys(log for name in sorted(named) for log in manifest.logs_of(name))
    if not logs:
        before = ", ".join(sorted(named))
        why = f"belongs to {before}" if named else "is meant, as no setting stands before it"
        raise ConfigError(
            f"author: none of the author's public logs {why}; name one: {', '.join(author.names())}"
        )
    return [_author(log) for log in logs]


def _author(log: str) -> tuple[str, str, RunResult]:
    """A log of the author; the number at the end of its name is that of a run of one group."""
    name = re.sub(r"_\d+$", "", log)
    return f"author: {name}", f"author: {name}", author.load(log)


def _with_clear_labels(found: dict[str, Group]) -> list[Group]:
    """Groups, those with one name told apart by their folders, or by a number where those have
    one name, too."""
    named = list(found.values())
    labels = [group.label for group in named]
    longer = [
        f"{group.label} ({_folders(group)})" if labels.count(group.label) > 1 else group.label
        for group in named
    ]
    counts: dict[str, int] = {}
    clear = []
    for group, label in zip(named, longer, strict=True):
        if longer.count(label) > 1:
            label = group.label
            counts[label] = counts.get(label, 0) + 1
            label = f"{label} ({counts[label]})"
        clear.append(replace(group, label=label))
    return clear


def _folders(group: Group) -> str:
    names = [run.path.name for run in group.runs]
    return ", ".join(names if len(names) < 3 else [names[0], "...", names[-1]])


def classes_of(run: RunResult) -> int:
    """Classes that a run's net tells apart: outputs of the layer that its Accuracy, or else its
    SoftmaxWithLoss layer judges; 0 where its folder does not say."""
    file = run.path / "net.prototxt"
    if not file.is_file():
        return 0
    from pycaffe_clr.prototxt import read_net

    try:
        layers = read_net(file).layer
    except ConfigError:
        return 0
    for kind in ("Accuracy", "SoftmaxWithLoss"):
        judged = next((layer.bottom[0] for layer in layers if layer.type == kind), None)
        for layer in reversed(layers):
            if judged in layer.top and judged not in layer.bottom:
                inner = layer.HasField("inner_product_param")
                return int(
                    (layer.inner_product_param if inner else layer.convolution_param).num_output
                )
    return 0


def readable(label: str, width: int) -> str:
    """A label cut in its middle where it is longer than `width`."""
    if len(label) <= width:
        return label
    head = (width - 1) // 2
    return f"{label[:head]}…{label[len(label) - (width - 1 - head) :]}"
