"""Tables of a step on a GPU, op by op: as the model has it, and as it was measured."""

from __future__ import annotations

from collections.abc import Sequence

from pycaffe_clr.train.passes import OpTime
from pycaffe_clr.train.step_model import GPUS, Gpu, OpWork, step_time

# Of all columns but that of the layers' names, which takes the rest of a line.
_SHOWN, _MEASURED = 52, 73


def cut(text: str, width: int) -> str:
    """The text in so many characters, filled up or cut off."""
    return f"{text:<{width}}" if len(text) <= width else f"{text[: width - 2]}.."


def _row(op: str, layers: str, width: int, numbers: Sequence[str]) -> str:
    return f"{cut(op, 12)} {cut(layers, max(width, 10))}" + "".join(f" {n:>9}" for n in numbers)


def step_lines(ops: Sequence[OpWork], images: int, width: int = 80) -> list[str]:
    """What a step asks of a GPU, and the model of its time on those whose rates are known.

    images: in a step.
    """
    names, first = width - _SHOWN, GPUS[0]
    lines = [_row("a step's op", "layers", names, ["launches", "MB", "GFLOP", f"us, {first.name}"])]
    for op in ops:
        numbers = [
            str(op.launches),
            f"{op.bytes / 1e6:.1f}",
            f"{op.flops / 1e9:.2f}",
            f"{1e6 * op.predicted(first):.0f}",
        ]
        lines.append(_row(op.op, op.layers, names, numbers))
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


def measured_lines(
    ops: Sequence[OpWork], times: Sequence[OpTime], gpu: Gpu | None, width: int = 110
) -> list[str]:
    """What each op took and reached, beside its floor on that GPU; None: its rates are unknown.

    times: of the same ops.
    """
    names = width - _MEASURED
    columns = ["launches", "us forw.", "us backw.", "GB/s", "TFLOP/s", "floor us"]
    lines = [_row("op", "layers", names, columns)]
    whole = 0.0
    for op, time in zip(ops, times, strict=True):
        seconds = 1e-3 * (time.forward + time.backward)
        whole += seconds
        reached = [op.bytes / seconds / 1e9, op.flops / seconds / 1e12] if seconds else [0.0, 0.0]
        numbers = [
            str(op.launches),
            f"{1e3 * time.forward:.1f}",
            f"{1e3 * time.backward:.1f}",
            f"{reached[0]:.0f}",
            f"{reached[1]:.2f}" if op.flops else "",
            f"{1e6 * op.floor(gpu):.1f}" if gpu else "",
        ]
        lines.append(_row(op.op, op.layers or time.name, names, numbers))
    lines.append(f"all ops, without the update: {1e3 * whole:.3f} ms")
    if gpu:
        model = step_time(ops, gpu)
        lines.append(
            f"{gpu.name}: floor {1e3 * model.floor:.3f} ms, predicted {1e3 * model.predicted:.3f} "
            f"ms; measured is {whole / model.floor:.2f} times the floor"
        )
    return lines
