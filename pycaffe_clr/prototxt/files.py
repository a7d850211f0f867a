"""Reading net and solver files to messages in today's form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pycaffe_clr import proto
from pycaffe_clr.prototxt.sets import apply_sets
from pycaffe_clr.prototxt.source import Source, source_of
from pycaffe_clr.prototxt.text import parse_text, read_text
from pycaffe_clr.prototxt.tokens import WORD, tokenize
from pycaffe_clr.prototxt.upgrade import complete_snapshot_prefix, upgrade_net, upgrade_solver
from pycaffe_clr.prototxt.validate import validate_solver

Texts = Mapping[str, str]


def read_net(path: str | Path, defines: Texts | None = None, sets: Texts | None = None) -> Any:
    """Read a net: a NetParameter, upgraded, whose positions are remembered (source_of).

    defines: values of placeholders, {"xBS": "128"}. sets: fields by dotted path. Raises
    ConfigError at file:line:column.
    """
    return parse_net(read_text(path), str(path), defines, sets)


def parse_net(
    text: str, name: str = "<net>", defines: Texts | None = None, sets: Texts | None = None
) -> Any:
    """A net from text; see read_net. name: what errors call it."""
    net = parse_text(text, proto.NetParameter, name, defines)
    upgrade_net(net)
    apply_sets(net, sets or {})
    return net


def read_solver(path: str | Path, defines: Texts | None = None, sets: Texts | None = None) -> Any:
    """Read a solver: a SolverParameter, upgraded and checked, positions remembered.

    Its nets are not read yet (solver_nets). Snapshots without a prefix are named after the file,
    as in Caffe. Raises ConfigError.
    """
    solver = parse_solver(read_text(path), str(path), defines, sets)
    complete_snapshot_prefix(solver, Path(path))
    return solver


def parse_solver(
    text: str, name: str = "<solver>", defines: Texts | None = None, sets: Texts | None = None
) -> Any:
    """A solver from text; see read_solver. name: what errors call it."""
    solver = parse_text(text, proto.SolverParameter, name, defines)
    # A type that is set on the command line replaces the old field, too.
    if "type" in (sets or {}):
        solver.ClearField("solver_type")
    apply_sets(solver, sets or {})
    upgrade_solver(solver)
    validate_solver(solver)
    return solver


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


def unused_defines(defines: Texts, *messages: Any) -> list[str]:
    """Names in `defines` that none of the files these messages were read from has."""
    used = {name for message in messages for name in source_of(message).used_defines}
    return [name for name in defines if name not in used]
