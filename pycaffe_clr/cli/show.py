"""`pycaffe_clr show`: what a net becomes, op by op."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pycaffe_clr import catalog
from pycaffe_clr.cli.messages import show_warnings
from pycaffe_clr.cli.step_table import cut, run_line, step_lines

if TYPE_CHECKING:
    from pycaffe_clr._core import Net
    from pycaffe_clr.core_types import PlanRow
    from pycaffe_clr.proto import NetParameter, SolverParameter
    from pycaffe_clr.prototxt import Parsed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `pycaffe_clr show`."""
    parser.description = (
        "Print the plan of a net, or of a solver's train net: ops after fusion, the backend that "
        "runs each, layouts, bytes; then memory, and what is not as fast as it could be. With "
        "--device cuda also, without a GPU as well, what each op asks of one, and how long a step "
        "should take on an H100 and an H200."
    )
    add = parser.add_argument
    add("net", metavar="NET|SOLVER", help="a file, or the name of one that ships")
    add("--phase", choices=["TRAIN", "TEST"], default="TRAIN")
    add("--device", default="cpu", help="cpu (default), cuda, kernels, onednn or reference")
    add("--precision", help="of products: tf32 (default on cuda), fp32 or bf16")
    add("--data-dir", help="where relative databases lie")
    add("--replicas", type=int)
    add("--no-fuse", action="store_true", help="the plan that keeps every blob")
    add("-D", dest="defines", action="append", default=[], metavar="NAME=VALUE")
    add("--set", dest="sets", action="append", default=[], metavar="FIELD=VALUE")


def main(args: argparse.Namespace) -> int:
    """Print the plan; returns 0. Raises ConfigError, DataError."""
    from pycaffe_clr.cli.stand_in import StandIn
    from pycaffe_clr.engine import build_net
    from pycaffe_clr.train.step_model import samples, step_work

    show_warnings()
    found = _find(args)
    records = StandIn(args.data_dir)

    def build(parsed: Parsed[NetParameter], phase: int) -> Net:
        net, _ = build_net(
            parsed.message,
            source=parsed.source,
            phase=phase,
            device=args.device,
            precision=args.precision,
            described=True,
            fuse=not args.no_fuse,
            replicas=(args.replicas or found.replicas) if phase == 0 else args.replicas or 1,
            records=records,
        )
        return net

    phase = 1 if args.phase == "TEST" else 0
    net = build(found.tests[0] if found.solver and phase == 1 else found.net, phase)
    width = shutil.get_terminal_size((80, 24)).columns
    for line in plan_lines(net, width):
        print(line)
    ops = step_work(net, update=phase == 0)
    if any(row["forward_work"]["launches"] for row in net.plan()):
        for line in ["", *step_lines(ops, samples(net), width)]:
            print(line)
        if found.solver and phase == 0:
            tests = [step_work(build(test, 1), update=False) for test in found.tests]
            print(run_line(ops, tests, found.solver))
    return 0


class _Found(NamedTuple):
    """What the user named. solver: None where that is a net; tests: the solver's test nets."""

    net: Parsed[NetParameter]
    replicas: int = 1
    solver: SolverParameter | None = None
    tests: Sequence[Parsed[NetParameter]] = ()


def _find(args: argparse.Namespace) -> _Found:
    from pycaffe_clr.errors import ConfigError
    from pycaffe_clr.prototxt import (
        Parsed,
        is_solver,
        load_net,
        load_solver,
        parse_assignments,
        solver_nets,
    )

    defines = parse_assignments(args.defines, "-D")
    sets = parse_assignments(args.sets, "--set")
    path = _file(args.net)
    if not is_solver(path):
        return _Found(load_net(path, defines, sets))
    solver, read_from = load_solver(path, defines, sets)
    nets = solver_nets(solver, path, defines, source=read_from)
    if args.phase == "TEST" and not nets.tests:
        raise ConfigError(f"{path}: the solver has no test net")
    train, *tests = map(Parsed, [nets.train, *nets.tests], nets.sources)
    return _Found(train, solver.replicas, solver, tests)


def _file(name: str) -> Path:
    from pycaffe_clr.errors import ConfigError

    try:
        return catalog.find_net(name)
    except ConfigError:
        try:
            return catalog.find_solver(name)
        except ConfigError:
            pass
        raise


def bytes_text(count: int) -> str:
    """`512 B`, `1.5 KB`, `23.4 MB`: powers of 1024."""
    value = float(count)
    for unit in ("B", "KB", "MB"):
        if value < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GB"


def plan_lines(net: Net, width: int = 80) -> list[str]:
    """The plan as text. net: a core Net."""
    rows = net.plan()
    lines = [_row("op", "layers", "backend: implementation", "output", "bytes", width)]
    lines += [
        _row(
            str(row["op"]),
            "+".join(row["layers"]),
            f"{row['backend']}: {row['implementation']}",
            " ".join(row["outs"][:1]) + (" ..." if len(row["outs"]) > 1 else ""),
            bytes_text(row["bytes"]),
            width,
        )
        for row in rows
    ]
    lines += ["", *_totals(net, rows)]
    return lines


def _row(op: str, layers: str, made: str, output: str, size: str, width: int) -> str:
    fixed = 10 + 19 + 10
    rest = max(width - fixed - 4, 20)
    layer_width = rest // 2
    cells = [
        cut(op, 10),
        cut(layers, layer_width),
        cut(made, rest - layer_width),
        cut(output, 19),
    ]
    return " ".join(cells) + f" {size:>10}"


def _totals(net: Net, rows: Sequence[PlanRow]) -> list[str]:
    params = net.params()
    own = net.learnable()
    values = sum(_count(params[index]["shape"]) for index in own)
    layers = len(net.layers())
    reference = [row for row in rows if row["backend"] == "reference"]
    lines = [
        f"{layers} layers, {len(rows)} ops; {values:,} parameters",
        f"memory {bytes_text(net.memory_bytes)}: {bytes_text(net.arena_bytes)} for values and "
        "their gradients, shared over",
        f"time; {bytes_text(8 * values)} for parameters and theirs",
    ]
    if net.backend == "reference":
        lines.append("backend reference: plain loops")
    else:
        names = ", ".join(sorted({str(row["op"]) for row in reference}))
        title = "reference ops"
        if net.backend.startswith("cuda"):  # which copies values to them and back
            title = "ops on the host" + (" by design" if names and not net.fallbacks() else "")
        lines.append(f"{title}: {len(reference)}" + (f" ({names})" if names else ""))
    if net.precision != "fp32":
        lines.append(f"convolutions and matrix products in {net.precision}")
    return lines


def _count(shape: Sequence[int]) -> int:
    count = 1
    for dim in shape:
        count *= dim
    return count
