"""Reading net and solver files to messages in today's form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pycaffe_clr import proto
from pycaffe_clr.prototxt.sets import apply_sets
from pycaffe_clr.prototxt.source import Parsed, Source
from pycaffe_clr.prototxt.text import parse_located, read_text
from pycaffe_clr.prototxt.tokens import WORD, tokenize
from pycaffe_clr.prototxt.upgrade import complete_snapshot_prefix, upgrade_net, upgrade_solver
from pycaffe_clr.prototxt.validate import validate_solver

if TYPE_CHECKING:
    from pycaffe_clr.proto import NetParameter, SolverParameter

Texts = Mapping[str, str]


def load_net(
    path: str | Path, defines: Texts | None = None, sets: Texts | None = None
) -> Parsed[NetParameter]:
    """Read a net: a NetParameter, upgraded, and the positions of its fields and layers.

    defines: values of placeholders, {"xBS": "128"}. sets: fields by dotted path. Raises
    ConfigError at file:line:column.
    """
    return locate_net(read_text(path), str(path), defines, sets)


def read_net(
    path: str | Path, defines: Texts | None = None, sets: Texts | None = None
) -> NetParameter:
    """The NetParameter alone; see load_net."""
    return load_net(path, defines, sets).message


def parse_net(
    text: str, name: str = "<net>", defines: Texts | None = None, sets: Texts | None = None
) -> NetParameter:
    """A NetParameter from text; see load_net. name: what errors call it."""
    return locate_net(text, name, defines, sets).message


def locate_net(
    text: str, name: str = "<net>", defines: Texts | None = None, sets: Texts | None = None
) -> Parsed[NetParameter]:
    """As parse_net, with the positions; see load_net."""
    net, source = parse_located(text, proto.NetParameter, name, defines)
    upgrade_net(net, source)
    apply_sets(net, sets or {}, source=source)
    return Parsed(net, source)


def load_solver(
    path: str | Path, defines: Texts | None = None, sets: Texts | None = None
) -> Parsed[SolverParameter]:
    """Read a solver: a SolverParameter, upgraded and checked, and the positions of its fields.

    Its nets are not read yet (solver_nets). Snapshots without a prefix are named after the file,
    as in Caffe. Raises ConfigError.
    """
    parsed = locate_solver(read_text(path), str(path), defines, sets)
    complete_snapshot_prefix(parsed.message, Path(path))
    return parsed


def read_solver(
    path: str | Path, defines: Texts | None = None, sets: Texts | None = None
) -> SolverParameter:
    """The SolverParameter alone; see load_solver."""
    return load_solver(path, defines, sets).message


def parse_solver(
    text: str, name: str = "<solver>", defines: Texts | None = None, sets: Texts | None = None
) -> SolverParameter:
    """A SolverParameter from text; see load_solver. name: what errors call it."""
    return locate_solver(text, name, defines, sets).message


def locate_solver(
    text: str, name: str = "<solver>", defines: Texts | None = None, sets: Texts | None = None
) -> Parsed[SolverParameter]:
    """As parse_solver, with the positions; see load_solver."""
    solver, source = parse_located(text, proto.SolverParameter, name, defines)
    # A type that is set on the command line replaces the old field, too.
    if "type" in (sets or {}):
        solver.ClearField("solver_type")
    apply_sets(solver, sets or {}, source=source)
    upgrade_solver(solver, source)
    validate_solver(solver, source)
    return Parsed(solver, source)


def is_solver(path: str | Path) -> bool:
    """Whether a prototxt is a solver: it has a field that only solvers have.

    Raises ConfigError where the file cannot be read or is no text.
    """
    only = {field.name for field in proto.SolverParameter.DESCRIPTOR.fields}
    only -= {field.name for field in proto.NetParameter.DESCRIPTOR.fields}
    tokens = tokenize(Source(str(path), read_text(path)), {})
    depth = 0
    for (kind, text, _), (_, after, _) in zip(tokens, tokens[1:], strict=False):
        depth += (text in ("{", "<")) - (text in ("}", ">"))
        if depth == 0 and kind == WORD and text in only and after in (":", "{", "<"):
            return True
    return False


def unused_defines(defines: Texts, *sources: Source) -> list[str]:
    """Names in `defines` that none of the files with these sources has."""
    used = {name for source in sources for name in source.used_defines}
    return [name for name in defines if name not in used]
