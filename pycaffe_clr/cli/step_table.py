"""Tables of a step on a GPU, op by op: as the model has it, and as it was measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pycaffe_clr.train.passes import OpTime
from pycaffe_clr.train.step_model import GPUS, Gpu, OpWork, step_time

if TYPE_CHECKING:
    from pycaffe_clr.proto import SolverParameter

# Of all columns but that of the layers' names, which takes the rest of a line.
_SHOWN, _MEASURED = 57, 87


def cut(text: str, width: int) -> str:
    """The text in so many characters, filled up or cut off."""
    return f"{text:<{width}}" if len(text) <= width else f"{text[: width - 2]}.."


def _row(op: str, layers: str, width: int, numbers: Iterable[str]) -> str:
    return f"{cut(op, 16)} {cut(layers, max(width, 10))}" + "".join(f" {n:>9}" for n in numbers)


def _kinds(ops: Iterable[OpWork]) -> dict[tuple[str, str], list[int]]:
    """Numbers of the ops of each kind and implementation."""
    kinds: dict[tuple[str, str], list[int]] = {}
    for number, op in enumerate(ops):
        kinds.setdefault((op.op, op.made), []).append(number)
    return kinds


def _asked(ops: Sequence[OpWork], gpu: Gpu) -> list[str]:
    return [
        str(sum(op.launches for op in ops)),
        f"{sum(op.bytes for op in ops) / 1e6:.1f}",
        f"{sum(op.flops for op in ops) / 1e9:.2f}",
        f"{1e6 * step_time(ops, gpu).predicted:.0f}",
    ]


def step_lines(ops: Sequence[OpWork], images: int, width: int = 80) -> list[str]:
    """What a step asks of a GPU, and the model of its time on those whose rates are known.

    images: in a step.
    """
    names, first = width - _SHOWN, GPUS[0]
    columns = ["launches", "MB", "GFLOP", f"us, {first.name}"]
    lines = [_row("a step's op", "layers", names, columns)]
    lines += [_row(op.op, op.layers, names, _asked([op], first)) for op in ops]
    lines += ["", _row("kind", "ops", names, columns)]
    for (kind, made), members in _kinds(ops).items():
        numbers = _asked([ops[i] for i in members], first)
        lines.append(_row(kind, f"{len(members)} {made}", names, numbers))
    lines += [
        "",
        f"a step: {sum(op.launches for op in ops)} launches, "
        f"{sum(op.bytes for op in ops) / 1e9:.2f} GB, "
        f"{sum(op.flops for op in ops) / 1e9:.1f} GFLOP in products; milliseconds:",
        f"{'':<6}{'traffic':>9}{'products':>10}{'launches':>10}{'floor':>8}{'predicted':>11}"
        f"{'images/s':>10}",
    ]
    for gpu in GPUS:
        time = step_time(ops, gpu)
        parts = [
            (time.traffic, 9), (time.arithmetic, 10), (time.launches, 10), (time.floor, 8),
            (time.predicted, 11),
        ]  # fmt: skip
        texts = "".join(f"{1e3 * seconds:>{wide}.3f}" for seconds, wide in parts)
        lines.append(f"{gpu.name:<6}{texts}{images / time.predicted:>10,.0f}")
    return lines


def run_line(
    step: Sequence[OpWork], tests: Sequence[Sequence[OpWork]], solver: SolverParameter
) -> str:
    """How long a solver's whole run should take. tests: a pass of each of its test nets."""
    passes = [solver.test_iter[i] * count_tests(solver) for i in range(len(tests))]
    times = []
    for gpu in GPUS:
        training = solver.max_iter * step_time(step, gpu).predicted
        # Several batches of a test go through at once, so that launches cost next to nothing.
        testing = 0.0
        for ops, count in zip(tests, passes, strict=True):
            model = step_time(ops, gpu)
            testing += count * (model.predicted - model.launches)
        times.append(f"{gpu.name} {training + testing:.1f} s, {testing:.1f} of them tests")
    return (
        f"a run, {solver.max_iter:,} iterations and {sum(passes):,} batches of tests: "
        f"{'; '.join(times)}"
    )


def count_tests(solver: SolverParameter) -> int:
    """How often a run tests its nets: before the iterations that divide, and at the end."""
    interval = solver.test_interval
    if not interval:
        return 0
    before = (solver.max_iter - 1) // interval + int(solver.test_initialization)
    return before + int(solver.max_iter % interval == 0)


def _reached(ops: Sequence[OpWork], times: Sequence[OpTime], gpu: Gpu | None) -> list[str]:
    forward, backward = sum(t.forward for t in times), sum(t.backward for t in times)
    seconds = 1e-3 * (forward + backward)
    moved, computed = sum(op.bytes for op in ops), sum(op.flops for op in ops)
    model = step_time(ops, gpu) if gpu else None
    return [
        str(sum(op.launches for op in ops)),
        f"{1e3 * forward:.1f}",
        f"{1e3 * backward:.1f}",
        f"{moved / seconds / 1e9:.0f}" if seconds else "",
        f"{computed / seconds / 1e12:.2f}" if seconds and computed else "",
        f"{1e6 * model.floor:.1f}" if model else "",
        f"{1e6 * model.predicted:.1f}" if model else "",
    ]


def measured_lines(
    ops: Sequence[OpWork], times: Sequence[OpTime], gpu: Gpu | None, width: int = 120
) -> list[str]:
    """What each op took and reached, beside its floor on that GPU and what was predicted there.

    times: of the same ops. gpu: None where its rates are unknown.
    """
    names = width - _MEASURED
    columns = ["launches", "us forw.", "us backw.", "GB/s", "TFLOP/s", "floor us", "predicted"]
    lines = [_row("op", "layers", names, columns)]
    for op, time in zip(ops, times, strict=True):
        lines.append(_row(op.op, op.layers or time.name, names, _reached([op], [time], gpu)))
    lines += ["", _row("kind", "ops", names, columns)]
    for (kind, made), members in _kinds(ops).items():
        numbers = _reached([ops[i] for i in members], [times[i] for i in members], gpu)
        lines.append(_row(kind, f"{len(members)} {made}", names, numbers))
    whole = 1e-3 * sum(time.forward + time.backward for time in times)
    lines += ["", f"all ops, without the update: {1e3 * whole:.3f} ms"]
    if gpu:
        model = step_time(ops, gpu)
        lines.append(
            f"{gpu.name}: floor {1e3 * model.floor:.3f} ms, predicted {1e3 * model.predicted:.3f} "
            f"ms; measured is {whole / model.floor:.2f} times the floor"
        )
    return lines
