"""The nets a solver trains and tests, by the rules of Caffe's solver.cpp, InitTrainNet and
InitTestNets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pycaffe_clr import proto
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.prototxt.files import read_net
from pycaffe_clr.prototxt.rules import merged_state
from pycaffe_clr.prototxt.source import Source, remember, source_of


class SolverNets(NamedTuple):
    """Nets with their state merged in: layer_specs(net) needs no further argument.

    train: NetParameter. tests: one NetParameter per test net; test number i runs test_iter(i)
    batches. paths: the net files that were read.
    """

    train: Any
    tests: list[Any]
    paths: list[Path]


def resolve_net_path(name: str, solver_path: Path | None, where: str, field: str = "net") -> Path:
    """Find a solver's net file: from the working directory, then the solver's folder, its parent.

    Raises ConfigError naming every place tried.
    """
    places = [Path()]
    if solver_path is not None:
        folder = solver_path.resolve().parent
        places += [folder, folder.parent]
    tried = []
    for place in places:
        candidate = place / name
        try:
            if candidate.is_file():
                return candidate
        except (OSError, ValueError):
            pass
        if str(candidate) not in tried:
            tried.append(str(candidate))
    raise ConfigError(
        f"{where}: {field} file is not there; tried {', '.join(tried)}. "
        f"Give another with --set {field}=FILE"
    )


def solver_nets(
    solver: Any, path: str | Path | None = None, defines: Mapping[str, str] | None = None
) -> SolverNets:
    """Read the train net and the test nets of a solver.

    path: the solver's own file, if it has one. defines: values of placeholders in the net files.
    Raises ConfigError if there is not exactly one train net, or test_iter, test_state and the
    test nets do not agree in number.
    """
    reader = _Reader(solver, None if path is None else Path(path), defines or {})
    return SolverNets(reader.train(), reader.tests(), list(reader.files))


class _Reader:
    def __init__(self, solver: Any, path: Path | None, defines: Mapping[str, str]) -> None:
        self.solver = solver
        self.path = path
        self.defines = defines
        self.source = source_of(solver)
        self.files: dict[Path, Any] = {}

    def train(self) -> Any:
        solver = self.solver
        given = [
            field
            for field in ("net", "net_param", "train_net", "train_net_param")
            if solver.HasField(field)
        ]
        if not given:
            raise ConfigError(
                f"{self.source.name}: no net is named; set net, train_net, net_param or "
                "train_net_param"
            )
        if len(given) > 1:
            raise ConfigError(
                f"{self.source.where(given[1])}: the train net is given more than once "
                f"({', '.join(given)}); keep one"
            )
        net = self.net(given[0], getattr(solver, given[0]), 0)
        override = solver.train_state if solver.HasField("train_state") else None
        return self.copy(net, proto.TRAIN, override)

    def tests(self) -> list[Any]:
        solver = self.solver
        own = [("test_net_param", index, net) for index, net in enumerate(solver.test_net_param)]
        own += [("test_net", index, name) for index, name in enumerate(solver.test_net)]
        generic = next((field for field in ("net_param", "net") if solver.HasField(field)), None)
        count = len(solver.test_iter)
        if generic is None and count != len(own):
            raise ConfigError(
                f"{self.source.where('test_iter')}: {count} test_iter values and {len(own)} test "
                "nets (test_net, test_net_param); each net needs one"
            )
        if count < len(own):
            raise ConfigError(
                f"{self.source.where('test_iter')}: {count} test_iter values for {len(own)} test "
                "nets; each net needs one"
            )
        # The test_iter values left over are for instances of the generic net.
        wanted = own + [(generic or "", 0, None)] * (count - len(own))
        states = solver.test_state
        if len(states) and len(states) != len(wanted):
            raise ConfigError(
                f"{self.source.where('test_state')}: {len(states)} test_state blocks and "
                f"{len(wanted)} test nets; give one per net, or none"
            )
        if wanted and solver.test_interval < 1:
            raise ConfigError(
                f"{self.source.where('test_interval')}: test nets need a test_interval of 1 or "
                f"more; it is {solver.test_interval}"
            )
        nets = []
        for number, (field, index, value) in enumerate(wanted):
            net = self.net(field, getattr(solver, field) if value is None else value, index)
            nets.append(self.copy(net, proto.TEST, states[number] if len(states) else None))
        return nets

    def net(self, field: str, value: Any, index: int) -> Any:
        """The NetParameter of a field that holds a net or the name of its file."""
        if not isinstance(value, str):
            return value
        path = resolve_net_path(value, self.path, self.source.where(field, index), field)
        if path not in self.files:
            self.files[path] = read_net(path, self.defines)
        return self.files[path]

    def copy(self, net: Any, phase: int, override: Any | None) -> Any:
        """The net with its state merged in; positions stay known."""
        copied = proto.NetParameter()
        copied.CopyFrom(net)
        copied.state.CopyFrom(merged_state(phase, net, override))
        is_file = any(net is read for read in self.files.values())
        remember(copied, source_of(net) if is_file else Source(self.source.name))
        return copied
