"""The solver that a recipe ends with: a prototxt with a comment line of reason over each value."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pycaffe_clr.atomic import write_atomically
from pycaffe_clr.proto import is_repeated
from pycaffe_clr.prototxt import apply_sets, format_message, read_solver
from pycaffe_clr.train.run_folder import SOLVER, net_names

if TYPE_CHECKING:
    from pycaffe_clr.proto import SolverParameter

_WIDTH = 100


@dataclass(frozen=True)
class Chosen:
    """A value of the recipe: a field of the solver (or "batch"), as text, and why."""

    field: str
    text: str
    reason: str


# Fields that say what is written when, and how it is tested: as the given solver has them.
_KEPT = (
    "test_iter test_interval test_initialization display average_loss random_seed snapshot_format"
).split()
# Fields of other policies and of short runs.
_OTHER = "stepvalue gamma power snapshot_after_train cyclical_momentum".split()


def write_recipe(
    folder: Path,
    name: str,
    trial: Path,
    given: SolverParameter,
    chosen: Mapping[str, Chosen],
    head: str,
) -> Path:
    """Write NAME.prototxt and the nets it names into `folder`; the solver's path.

    trial: folder of a run with the recipe's batch; its resolved nets are what the solver trains.
    given: the SolverParameter that the recipe is for. chosen: by field of the solver; that of "net"
    goes with the batch. head: the opening comment.
    Raises DataError, ConfigError.
    """
    solver = read_solver(trial / SOLVER)
    for field, files in net_names(solver).items():
        for number, file in enumerate(files):
            # A name of its own: a solver's nets are looked for in the working directory first.
            own = f"{name}_{Path(file).name}"
            write_atomically(folder / own, [(trial / file).read_bytes()])
            if field == "test_net":
                solver.test_net[number] = own
            else:
                setattr(solver, field, own)
    for field in (*_KEPT, *_OTHER):
        solver.ClearField(field)
    kept = type(solver)()
    for field in _KEPT:
        _copy_field(given, kept, field)
    solver.MergeFrom(kept)
    sets = {c.field: c.text for c in chosen.values() if c.field not in ("net", "batch")}
    apply_sets(solver, sets)
    solver.snapshot_prefix, solver.snapshot = name, solver.max_iter
    path = folder / f"{name}.prototxt"
    write_atomically(path, [commented(solver, chosen, head).encode()])
    read_solver(path)
    return path


def _copy_field(source: SolverParameter, target: SolverParameter, name: str) -> None:
    for field, value in source.ListFields():
        if field.name == name:
            if is_repeated(field):
                getattr(target, name).extend(value)
            else:
                setattr(target, name, value)


def commented(solver: SolverParameter, chosen: Mapping[str, Chosen], head: str) -> str:
    """The text of a solver, each chosen value below its reason; those come first, in order."""
    lines = format_message(solver).splitlines()
    by_field: dict[str, list[str]] = {}
    for line in lines:
        by_field.setdefault(line.partition(":")[0].strip(" {"), []).append(line)
    blocks = [_comment(head)]
    for field, value in chosen.items():
        blocks.append(_comment(value.reason) + "\n".join(by_field.pop(field)) + "\n")
    rest = [line for field, found in by_field.items() for line in found]
    blocks.append(_comment("As the solver that this was found for has them:") + "\n".join(rest))
    return "\n".join(blocks) + "\n"


def _comment(text: str) -> str:
    """Text as comment lines, wrapped."""
    return "".join(f"# {line}\n" for line in textwrap.wrap(text, _WIDTH - 2))
