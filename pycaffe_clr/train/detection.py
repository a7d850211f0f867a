"""Mean average precision, by which SSD's solver tests detections. Source: the fork's solver.cpp,
TestDetection, and bbox_util.cpp, ComputeAP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pycaffe_clr.errors import ConfigError

if TYPE_CHECKING:
    from pycaffe_clr._core import Net
    from pycaffe_clr.proto import SolverParameter

# Average precision of each class; None: of that there are no detections that count.
Precisions = dict[int, float | None]


def version_of(solver: SolverParameter) -> str | None:
    """Which average precision a solver tests by; None: it takes means of its outputs."""
    return str(solver.ap_version) if solver.eval_type == "detection" else None


def average_precision(scores: np.ndarray, right: np.ndarray, truths: int, version: str) -> float:
    """Of one class's detections, (n,) each, of equal scores the earlier first.

    11point: mean of the best precisions from recall 0, 0.1 .. 1 on; MaxIntegral: of the best
    precisions from each recall on, over the steps of recall; Integral: of those at each. 0 where
    there are no truths or no detections. In float32, as SSD has it.
    """
    if not truths or not len(scores):
        return 0.0
    hits = np.cumsum(right[np.argsort(-scores, kind="stable")])
    precision = (hits / np.arange(1, len(hits) + 1)).astype(np.float32)
    recall = (hits / truths).astype(np.float32)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    if version == "11point":
        points = np.searchsorted(recall.astype(np.float64), np.arange(11) / 10)
        return _sum(np.append(best, np.float32(0))[points[::-1]] / np.float32(11))
    if version == "Integral":
        return _sum(precision * np.diff(recall, prepend=np.float32(0)))
    # A step counts with the best precision from its lower end on; the last one first.
    steps = (best[:-1] * np.diff(recall))[::-1]
    return _sum(np.append(steps, best[0] * recall[0]))


def _sum(terms: np.ndarray) -> float:
    """Added up one after the other."""
    return float(np.cumsum(terms, dtype=np.float32)[-1])


class Judged:
    """The detections of one output over a test's passes, as DetectionEvaluate judges them."""

    def __init__(self) -> None:
        self._rows: list[np.ndarray] = []

    def add(self, rows: np.ndarray) -> None:
        """One pass's (n, 5): sample, class, confidence, right, wrong; sample -1: how many truths a
        class has."""
        self._rows.append(rows[rows[:, 1] >= 0])

    def precisions(self, version: str) -> Precisions:
        """Of what was added."""
        rows = np.concatenate(self._rows)
        counts, found = rows[rows[:, 0] < 0], rows[rows[:, 0] >= 0]
        found = found[found[:, 3:].any(1)]  # the others found what is difficult
        result: Precisions = {}
        for label in np.unique(counts[:, 1]):
            of_class = found[found[:, 1] == label]
            truths = int(counts[counts[:, 1] == label, 2].sum())
            result[int(label)] = (
                average_precision(of_class[:, 2], of_class[:, 3], truths, version)
                if len(of_class)
                else None
            )
        return result


def mean(precisions: Precisions) -> float:
    """Over all classes; those without detections have 0."""
    found = [each or 0 for each in precisions.values()]
    return _sum(np.array(found, np.float32)) / len(found) if found else 0.0


def rate(
    net: Net, passes: int, going: Callable[[], bool], version: str
) -> tuple[list[tuple[str, Precisions]], float]:
    """(blob, precisions) of each output over so many passes of a test net, and its summed loss.

    going: asked after every pass. Raises ConfigError for other outputs.
    """
    check_outputs(net)
    outputs = [(name, Judged()) for name in net.outputs()]

    def add() -> bool:
        for name, judged in outputs:
            judged.add(np.reshape(net.read(name), (-1, 5)))
        return going()

    _, loss, _ = net.test(passes, add)
    return [(name, judged.precisions(version)) for name, judged in outputs], loss


def check_outputs(net: Net) -> None:
    """Raise ConfigError where a net has other outputs than such rows."""
    for name in net.outputs():
        shape = tuple(net.shape(name))
        if shape[-1:] != (5,):
            raise ConfigError(
                f'eval_type "detection" rates the rows of 5 numbers that DetectionEvaluate layers '
                f"give, but output '{name}' of a test net has the shape {shape}; end it in a "
                "Silence layer"
            )


def columns(net: Net, version: str | None) -> Sequence[str]:
    """The output that each number of a test is of."""
    if version is not None:
        return list(net.outputs())
    return [name for name in net.outputs() for _ in range(len(net.read(name)))]
