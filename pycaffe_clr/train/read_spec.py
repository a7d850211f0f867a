"""The solver and the nets of a run, with everything in them that its spec changes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pycaffe_clr.catalog import find_solver
from pycaffe_clr.prototxt import NetChanges, SolverNets, Source, load_solver, solver_nets
from pycaffe_clr.train.spec import RunSpec

if TYPE_CHECKING:
    from pycaffe_clr.proto import SolverParameter


class Read(NamedTuple):
    """solver: SolverParameter, from `path`. source: where it was read from."""

    solver: SolverParameter
    nets: SolverNets
    path: Path
    source: Source


def read_spec(spec: RunSpec) -> Read:
    """Read what a run that begins anew is to train. Raises ConfigError."""
    path = find_solver(str(spec.solver))
    sets = dict(spec.sets)
    for name in ("max_iter", "replicas"):
        if getattr(spec, name) is not None:
            sets[name] = str(getattr(spec, name))
    solver, source = load_solver(path, spec.defines, sets)
    changes = NetChanges(spec.net, spec.batch, spec.test_batch, spec.filler, spec.net_sets)
    nets = solver_nets(solver, path, spec.defines, changes, source)
    return Read(solver, nets, path, source)
