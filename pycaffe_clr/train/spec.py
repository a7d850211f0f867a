"""What a run shall do: RunSpec, the one list of its settings, with the flags that name them."""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pycaffe_clr.catalog import find_solver
from pycaffe_clr.errors import ConfigError

# What may not change between a run's start and its resume: what run.json has itself, and what its
# copy of the settings has.
_RESOLVED = ("seed", "replicas", "weights", "snapshot", "defines", "sets")
_CHANGES = ("net", "batch", "test_batch", "filler", "net_sets", "labels")


# What --device may say.
DEVICES = (
    "cpu, cuda (an NVIDIA GPU; cuda:1 the second), kernels, onednn or reference; "
    "default: the solver's solver_mode"
)


class Flag(NamedTuple):
    """How the command line spells a field. kind: type of one value, or of the whole, of
    `bool` (a switch), and of `dict` (NAME=VALUE, any number of times)."""

    name: str
    kind: type
    metavar: str | None
    help: str | None


def _flag(
    name: str, kind: type, help: str | None = None, metavar: str | None = None, default: Any = None
) -> Any:
    metadata = {"flag": Flag(name, kind, metavar, help)}
    if kind is dict:
        return dataclasses.field(default_factory=dict, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """The settings of a run; None: as the solver, or the run that is resumed, has it.

    solver: a path, or the name of one that ships. out: the run's folder; runs/SOLVER by default.
    resume: go on with the run there, if there is one; overwrite: replace it. data_dir: the folder
    from which relative databases count. device: "cpu", "cuda", or a backend; None: solver_mode's.
    precision: what convolutions and matrix products multiply, "tf32" (on cuda), "fp32" or "bf16".
    threads: of the computation. replicas: batches per update, each with BatchNorm statistics of its
    own. ranks: processes that train together, each with as many of the replicas: one, unless
    replicas says more; "cuda:0,1" as the device means as many. weights, snapshot:
    .caffemodel files, separated by commas, or a .solverstate to start from; caffe_resume: from the
    latter with the data at record 0. max_iter: updates. seed: of weights and data, 0 or more.
    checkpoint_every: seconds. whole_test: test on the whole test set in the end.

    defines: values of placeholders in the prototxts. sets, net_sets: fields of the solver and of
    the net by dotted path. net: another net, by path or shipped name. batch, test_batch: batch_size
    of the data layers in TRAIN, per replica, and in TEST. filler: type of the weight fillers.
    labels: words of the caller's, kept in run.json. curve: draw curve.png.

    Values are plain: paths are text. Raises ConfigError for what contradicts itself.
    """

    solver: str | None = _flag("solver", str, "left out: with --resume and --out", "SOLVER")
    out: str | None = _flag("--out", str, "default: runs/SOLVER, or runs/SOLVER-2, ...", "DIR")
    resume: bool = _flag(
        "--resume", bool, "go on with the run in DIR, if there is one", default=False
    )
    overwrite: bool = _flag("--overwrite", bool, "replace the run in DIR", default=False)
    data_dir: str | None = _flag("--data-dir", str, "where relative databases lie", "DIR")
    device: str | None = _flag("--device", str, DEVICES)
    precision: str | None = _flag(
        "--precision", str, "of products: tf32 (default on cuda), fp32 or bf16", "PRECISION"
    )
    threads: int | None = _flag("--threads", int, "default: one per core", "N")
    replicas: int | None = _flag(
        "--replicas", int, "batches per step, BatchNorm over each by itself", "R"
    )
    ranks: int | None = _flag(
        "--ranks", int, "processes that share each batch, on a device each", "N"
    )
    max_iter: int | None = _flag("--max-iter", int, "default: the solver's", "N")
    seed: int | None = _flag("--seed", int, "default: the solver's random_seed, or a new one", "N")
    net: str | None = _flag("--net", str, "train another net: a file, or one that ships", "NET")
    batch: int | None = _flag("--batch", int, "batch_size in TRAIN, of each replica", "N")
    test_batch: int | None = _flag("--test-batch", int, "batch_size in TEST", "N")
    filler: str | None = _flag(
        "--filler", str, "type of the weight fillers: xavier, msra, ...", "TYPE"
    )
    weights: str | None = _flag("--weights", str, "start from these .caffemodel weights", "FILE")
    snapshot: str | None = _flag("--snapshot", str, "go on from a .solverstate", "FILE")
    caffe_resume: bool = _flag(
        "--caffe-resume", bool, "with --snapshot: data from record 0, as Caffe", default=False
    )
    checkpoint_every: float | None = _flag(
        "--checkpoint-every", float, "rolling checkpoint; default 120", "SECONDS"
    )
    defines: Mapping[str, str] = _flag(
        "-D", dict, "value of a placeholder in the prototxts", "NAME=VALUE"
    )
    sets: Mapping[str, str] = _flag("--set", dict, "change a field of the solver", "FIELD=VALUE")
    net_sets: Mapping[str, str] = _flag(
        "--set-net", dict, "change a field of the net: layer.ip1....", "FIELD=VALUE"
    )
    whole_test: bool = _flag(
        "--no-whole-test", bool, "do not test on the whole test set at the end", default=True
    )
    labels: Mapping[str, str] = _flag(
        "--label", dict, "kept in run.json, of no effect on the run", "NAME=VALUE"
    )
    curve: bool = _flag("--no-curve", bool, "do not draw curve.png", default=True)

    def __post_init__(self) -> None:
        for name, flag in flags().items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _plain(name, value, flag.kind))
        for name, low, high in _LIMITS:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                bound = f"{low} or more" if value < low else f"at most {high}"
                raise ConfigError(f"{name} must be {bound}, not {value}")
        if self.checkpoint_every is not None and not self.checkpoint_every >= 0:
            raise ConfigError("checkpoint_every takes seconds, 0 or more")
        if self.resume and self.overwrite:
            raise ConfigError("resume and overwrite exclude each other")
        if self.weights is not None and self.snapshot is not None:
            raise ConfigError("weights and snapshot exclude each other: a snapshot has weights")

    def to_json(self) -> dict[str, Any]:
        """The fields that are not at their defaults, as values that JSON holds."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            name: dict(value) if isinstance(value, Mapping) else value
            for name, value in values.items()
            if value != _DEFAULTS[name]
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> RunSpec:
        """The spec that to_json gave, as a dict or as its JSON text. Raises ConfigError."""
        try:
            found = dict(json.loads(data) if isinstance(data, str) else data)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"not the settings of a run: {error}") from error
        check_names(found)
        return cls(**found)

    def words(self) -> list[str]:
        """The words of the command line that make this run: `run SOLVER --out DIR ...`."""
        words = ["run"]
        for name, value in self.to_json().items():
            flag = flags()[name]
            if flag.kind is dict:
                words += [w for pair in value.items() for w in (flag.name, "=".join(pair))]
            elif flag.kind is bool:
                words.append(flag.name)
            else:
                words += ([flag.name] if flag.name.startswith("-") else []) + [str(value)]
        return words


def check_names(names: Iterable[str]) -> None:
    """Raise ConfigError for a name that no field of RunSpec has."""
    for name in names:
        if name not in _DEFAULTS:
            near = difflib.get_close_matches(name, _DEFAULTS, 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(_DEFAULTS)}"
            raise ConfigError(f"a run has no setting {name}; {hint}")


def check_resume(spec: RunSpec, folder: Path, record: Mapping[str, Any]) -> None:
    """Raise ConfigError where a spec asks for something else than the run in a folder, whose
    run.json this is, was started with."""
    remedy = "take another folder, or remove this one"
    if spec.solver is not None and find_solver(spec.solver).stem != record["name"]:
        raise ConfigError(f"{folder}: holds a run of {record['name']}, not {spec.solver}; {remedy}")
    for name in (*_RESOLVED, *_CHANGES):
        given = getattr(spec, name)
        begun = record[name] if name in _RESOLVED else record.get("spec", {}).get(name)
        if given is not None and given != {} and given != begun:
            before = f"without {name}" if begun in (None, {}) else f"with {name} {begun}"
            raise ConfigError(
                f"{folder}: the run was started {before}, which a resume cannot change to "
                f"{given}; {remedy}"
            )


def flags() -> dict[str, Flag]:
    """The flag of every field, by the field's name."""
    return {field.name: field.metadata["flag"] for field in dataclasses.fields(RunSpec)}


_DEFAULTS: dict[str, Any] = {
    field.name: {} if field.metadata["flag"].kind is dict else field.default
    for field in dataclasses.fields(RunSpec)
}


_INT32, _INT64 = 2**31 - 1, 2**63 - 1
_LIMITS = (
    ("threads", 1, 1024),
    ("replicas", 1, _INT32),
    ("ranks", 1, 1024),
    ("batch", 1, _INT32),
    ("test_batch", 1, _INT32),
    ("max_iter", 1, _INT32),
    ("seed", 0, _INT64),
)


def _plain(name: str, value: Any, kind: type) -> Any:
    """A value as its field keeps it. Raises ConfigError for one of another type."""
    if kind is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{name} takes a mapping of fields to values, not {value!r}")
        return {str(key): _text(each) for key, each in value.items()}
    if kind is str:
        if isinstance(value, str | os.PathLike):
            return os.fspath(value)
    elif kind is bool:
        if isinstance(value, bool):
            return value
    elif not isinstance(value, bool):
        try:
            number = kind(value)
            if number == value:
                return number
        except (TypeError, ValueError, OverflowError):
            pass
    raise ConfigError(f"{name} takes {_KINDS[kind]}, not {value!r}")


_KINDS = {
    str: "text or a path", bool: "True or False", int: "a whole number", float: "a number"
}  # fmt: skip


def _text(value: Any) -> str:
    """A value as prototxt writes it; several of a repeated field are separated by commas."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ",".join(_text(each) for each in value)
    return str(value)
