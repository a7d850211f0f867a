"""The nets a solver trains and tests, by the rules of Caffe's solver.cpp, InitTrainNet and
InitTestNets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pycaffe_clr import proto
from pycaffe_clr.catalog import find_net
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.prototxt.changes import (
    NetChanges,
    apply_net_sets,
    replace_net,
    set_batches,
    set_filler,
)
from pycaffe_clr.prototxt.files import load_net
from pycaffe_clr.prototxt.rules import merged_state
from pycaffe_clr.prototxt.source import Parsed, Source, nowhere

if TYPE_CHECKING:
    from pycaffe_clr.proto import NetParameter, NetState, SolverParameter

_FILE_FIELDS = ("net", "train_net", "test_net")


class SolverNets(NamedTuple):
    """Nets with their state merged in: layer_specs(net) needs no further argument.

    train: NetParameter. tests: one NetParameter per test net; test number i runs test_iter(i)
    batches. paths: the net files that were read. files: what these files are after all changes, by
    the solver's field and the place in it: ("net", 0), ("test_net", 1). sources: where each net was
    read from, that of the train net first.
    """

    train: NetParameter
    tests: list[NetParameter]
    paths: list[Path]
    files: dict[tuple[str, int], NetParameter]
    sources: list[Source]


@dataclass(frozen=True)
class _Use:
    """One net that is built: the field that gives it, and what the solver adds to its state."""

    field: str
    index: int
    net: Parsed[NetParameter]
    phase: int
    override: NetState | None

    def state(self) -> NetState:
        return merged_state(self.phase, self.net.message, self.override)

    def copy(self) -> NetParameter:
        """The net with its state merged in."""
        copied = proto.NetParameter()
        copied.CopyFrom(self.net.message)
        copied.state.CopyFrom(self.state())
        return copied


def solver_nets(
    solver: SolverParameter,
    path: str | Path | None = None,
    defines: Mapping[str, str] | None = None,
    changes: NetChanges | None = None,
    source: Source | None = None,
) -> SolverNets:
    """Read the train net and the test nets of a solver.

    path: the solver's own file, if it has one. defines: values of placeholders in the net files.
    changes: made to what was read; with another net, the solver names that one from then on.
    source: where the solver was read from, as load_solver tells.
    Raises ConfigError if there is not exactly one train net, or test_iter, test_state and the
    test nets do not agree in number, or a change does not fit.
    """
    changes = changes or NetChanges()
    source = source or (nowhere(solver) if path is None else Source(str(path)))
    if changes.net is not None:
        replace_net(solver, changes.net, source)
    reader = _Reader(solver, None if path is None else Path(path), defines or {}, source)
    uses = [reader.train(), *reader.tests()]
    nets = list({id(use.net.message): use.net for use in uses}.values())
    apply_net_sets(nets, changes.sets)
    if changes.filler is not None:
        set_filler(nets, changes.filler)
    set_batches([(use.net, use.state()) for use in uses], changes.batch, changes.test_batch)
    train, *tests = [use.copy() for use in uses]
    files = {(use.field, use.index): use.net.message for use in uses if use.field in _FILE_FIELDS}
    sources = [use.net.source for use in uses]
    return SolverNets(train, tests, list(reader.files), files, sources)


class _Reader:
    def __init__(
        self, solver: SolverParameter, path: Path | None, defines: Mapping[str, str], source: Source
    ) -> None:
        self.solver = solver
        self.path = path
        self.defines = defines
        self.source = source
        self.files: dict[Path, Parsed[NetParameter]] = {}

    def train(self) -> _Use:
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
        return _Use(given[0], 0, net, proto.TRAIN, override)

    def tests(self) -> list[_Use]:
        solver = self.solver
        own: list[tuple[str, int, Any]] = [
            ("test_net_param", index, net) for index, net in enumerate(solver.test_net_param)
        ]
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
        uses = []
        for number, (field, index, value) in enumerate(wanted):
            net = self.net(field, getattr(solver, field) if value is None else value, index)
            override = states[number] if len(states) else None
            uses.append(_Use(field, index, net, proto.TEST, override))
        return uses

    def net(self, field: str, value: Any, index: int) -> Parsed[NetParameter]:
        """The net of a field that holds it or the name of its file."""
        if not isinstance(value, str):
            return Parsed(value, Source(self.source.name))
        path = find_net(value, self.path, (field, self.source.where(field, index)))
        if path not in self.files:
            self.files[path] = load_net(path, self.defines)
        return self.files[path]
