"""How long runs take on this machine: known speeds of nets, corrected by finished runs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pycaffe_clr.errors import DataError
from pycaffe_clr.experiments.manifest import Setting
from pycaffe_clr.experiments.store import Store

# Training images per second of one core of a 2.6 GHz AMD EPYC (Zen 5), measured; those of the
# ImageNet nets follow from ResNet-56's and the nets' multiplications.
SPEEDS = {
    "lenet": 12000.0,
    "cifar3": 2400.0,
    "resnet56": 345.0,
    "wide32": 115.0,
    "densenet40": 47.0,
    "resnet50": 10.0,
    "inception_resnet_v2": 3.0,
}


@dataclass(frozen=True)
class Measured:
    """A finished run: its net, images per second (Setting.work), most bytes held."""

    net: str
    speed: float
    memory: int


class Estimates:
    """Seconds and bytes that a run of a net needs.

    measured: finished runs of this machine. A net that is not among them is taken to be as much
    faster or slower than in SPEEDS as those are that are.
    """

    def __init__(self, measured: Iterable[Measured] = ()) -> None:
        by_net: dict[str, list[Measured]] = {}
        for run in measured:
            if run.speed > 0:
                by_net.setdefault(run.net, []).append(run)
        self._speeds = {net: statistics.median(r.speed for r in s) for net, s in by_net.items()}
        self._memory = {net: max(r.memory for r in s) for net, s in by_net.items()}
        ratios = [
            speed / known for net, speed in self._speeds.items() if (known := _known_speed(net))
        ]
        self._ratio = statistics.median(ratios) if ratios else 1.0

    def seconds(self, net: str, images: float, threads: int = 1) -> float:
        """Time of a run of so many training images. nan for a net of which nothing is known."""
        speed = self._speeds.get(net)
        if speed is None:
            known = _known_speed(net)
            # Two threads of one run were measured to bring 1.6 to 1.9 times the speed of one.
            speed = known * self._ratio * (1 + 0.75 * (threads - 1)) if known else float("nan")
        return images / speed

    def memory(self, net: str) -> int:
        """Most bytes that a run of the net held; 0 where none was measured."""
        return self._memory.get(net, 0)


def _known_speed(net: str) -> float | None:
    """The speed of the longest name in SPEEDS that the net's begins with."""
    names = [name for name in SPEEDS if net.startswith(name)]
    return SPEEDS[max(names, key=len)] if names else None


def measured_runs(store: Store, settings: Iterable[Setting]) -> Iterator[Measured]:
    """What the finished runs of a store tell about the speed of their nets, tests included."""
    for setting in settings:
        for run in store.runs(setting.name):
            try:
                record = run.record if run.state == "finished" else {}
            except DataError:
                continue
            # Packed runs may come from another machine.
            if record.get("seconds") and not run.packed:
                work = setting.work * float(run.scaled or 1)
                memory = int(record.get("peak_memory_bytes") or 0)
                yield Measured(setting.net, work / record["seconds"], memory)
