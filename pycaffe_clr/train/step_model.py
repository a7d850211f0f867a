"""The time of a step on a GPU, from what its ops ask for: launches, bytes, arithmetic.

A floor holds for any kernels over the same plan: an op moves its bytes at the published bandwidth
while its products run at the published rate. A prediction is what kernels like these should reach:
it is there to be met, or to be explained, by the first measurement.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pycaffe_clr._core import Net
    from pycaffe_clr.core_types import PlanRow, Work

# Seconds from one launch to the next within a captured step, where neither waits for data.
LAUNCH = 2e-6
# Shares of the published rates: of the bandwidth in a long copy; of the arithmetic in products of
# few channels, by mma.sync on the tensor cores and by FFMA.
COPIED, MULTIPLIED, MULTIPLIED_FP32 = 0.9, 0.4, 0.6
# What SGD moves of each parameter: it reads weight, gradient and history, and writes all three.
UPDATE_BYTES, UPDATE_LAUNCHES = 24, 2


@dataclass(frozen=True)
class Gpu:
    """Published rates. bandwidth: bytes a second; flops: by precision, a second, dense."""

    name: str
    bandwidth: float
    flops: Mapping[str, float]


# NVIDIA's data sheets, SXM boards.
_HOPPER = {"bf16": 989e12, "tf32": 495e12, "fp32": 67e12}
GPUS = [Gpu("H100", 3.35e12, _HOPPER), Gpu("H200", 4.8e12, _HOPPER)]


def gpu_named(name: str) -> Gpu | None:
    """The rates of a GPU by the name that its driver has for it: `NVIDIA H100 80GB HBM3`."""
    return next((gpu for gpu in GPUS if gpu.name in name.split()), None)


@dataclass(frozen=True)
class OpWork:
    """What an op asks for in a step, forward and backward together. precision: of its products."""

    op: str
    layers: str
    made: str
    launches: int
    bytes: int
    flops: int
    precision: str

    def floor(self, gpu: Gpu) -> float:
        """Seconds that it takes at least."""
        return max(self.bytes / gpu.bandwidth, self.flops / gpu.flops[self.precision])

    def predicted(self, gpu: Gpu) -> float:
        """Seconds that it should take."""
        share = MULTIPLIED_FP32 if self.precision == "fp32" else MULTIPLIED
        traffic = self.bytes / (COPIED * gpu.bandwidth)
        return self.launches * LAUNCH + max(
            traffic, self.flops / (share * gpu.flops[self.precision])
        )


def _op(row: PlanRow, precision: str) -> OpWork:
    works: list[Work] = [row["forward_work"], row["backward_work"]]
    made = row["implementation"]
    # Others multiply on the ordinary cores, whatever was asked for.
    rounded = any(word in made for word in ("tensor", "matmul", "cudnn"))
    return OpWork(
        op=row["op"],
        layers="+".join(row["layers"]),
        made=f"{row['backend']}: {made}",
        launches=sum(work["launches"] for work in works),
        bytes=sum(work["bytes"] for work in works),
        flops=sum(work["flops"] for work in works),
        precision=precision if rounded else "fp32",
    )


def step_work(net: Net, update: bool) -> list[OpWork]:
    """What the ops of a core net ask for, in order. update: and then SGD's, in one op."""
    ops = [_op(row, net.precision) for row in net.plan()]
    if update:
        params = net.params()
        count = 0
        for index in net.learnable():
            values = 1
            for dim in params[index]["shape"]:
                values *= dim
            count += values
        ops.append(OpWork("update", "", "", UPDATE_LAUNCHES, UPDATE_BYTES * count, 0, "fp32"))
    return ops


def samples(net: Net) -> int:
    """Samples of a pass: the first axis of what the first layer without bottoms makes."""
    for layer in net.layers():
        if not layer["bottoms"] and layer["tops"]:
            return net.shape(layer["tops"][0])[0]
    return 0


@dataclass(frozen=True)
class StepTime:
    """Of a whole step, in seconds. traffic, arithmetic: all of it, one without the other; floor:
    the larger of both, op by op."""

    traffic: float
    arithmetic: float
    launches: float
    floor: float
    predicted: float


def step_time(ops: Iterable[OpWork], gpu: Gpu) -> StepTime:
    """The model of a step whose ops run one after the other."""
    listed = list(ops)
    return StepTime(
        traffic=sum(op.bytes for op in listed) / gpu.bandwidth,
        arithmetic=sum(op.flops / gpu.flops[op.precision] for op in listed),
        launches=LAUNCH * sum(op.launches for op in listed),
        floor=sum(op.floor(gpu) for op in listed),
        predicted=sum(op.predicted(gpu) for op in listed),
    )
