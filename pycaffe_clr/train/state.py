"""Everything a session needs to go on bit for bit, as plain values and arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pycaffe_clr.errors import DataError

if TYPE_CHECKING:
    from pycaffe_clr._core import Net, Solver


@dataclass
class State:
    """Where a session stands between two iterations.

    train, tests: places of the nets, as positions.capture gives them. losses: the window of the
    smoothed loss. since_display: seconds since the last display, which was at `displayed_at`.
    arrays: float32, "data LAYER INDEX" and "history LAYER INDEX" for every learned parameter, and
    "history2 LAYER INDEX" under a rule that keeps two histories. type: the solver's, "" where a
    checkpoint of an earlier version does not say.
    """

    iteration: int
    current_step: int
    train: Mapping[str, Any]
    tests: Sequence[Mapping[str, Any]]
    losses: list[float]
    since_display: float
    displayed_at: int
    arrays: dict[str, np.ndarray] = field(repr=False)
    type: str = ""


def views(net: Net, core: Solver) -> dict[str, np.ndarray]:
    """The arrays of a State as views of a core net and solver. BatchNorm's statistics are
    parameters, too."""
    arrays = {}
    rows = net.params()
    for index in net.learnable():
        key = f"{rows[index]['layer']} {rows[index]['index']}"
        arrays[f"data {key}"] = net.param_data(index)
        for k in range(core.histories):
            arrays[f"history{k + 1 if k else ''} {key}"] = core.history(index, k)
    return arrays


def check_arrays(
    arrays: Mapping[str, np.ndarray], own: Mapping[str, np.ndarray], name: str
) -> None:
    """Raise DataError unless both have the same names and shapes. name: what errors call them."""
    weights, own_weights = ([key for key in a if key.startswith("data ")] for a in (arrays, own))
    if weights != own_weights:
        raise DataError(f"{name}: is of another net: its parameters have other names")
    if list(arrays) != list(own):
        raise DataError(
            f"{name}: is of another solver type: it holds {len(arrays) - len(weights)} histories, "
            f"this solver keeps {len(own) - len(own_weights)} for {len(own_weights)} parameters"
        )
    for key, array in own.items():
        if arrays[key].shape != array.shape:
            raise DataError(f"{name}: {key} has shape {arrays[key].shape}, here {array.shape}")
