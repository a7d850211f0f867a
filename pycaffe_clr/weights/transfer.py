"""Between weight files and the parameters of a net that was built."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pycaffe_clr.errors import DataError
from pycaffe_clr.weights.files import fit, write_weights
from pycaffe_clr.weights.wire import Array

if TYPE_CHECKING:
    from pycaffe_clr._core import Net
    from pycaffe_clr.proto import NetParameter

_log = logging.getLogger(__name__)


def load_weights(core: Net, weights: Mapping[str, Sequence[Array | None]], name: str) -> list[str]:
    """Copy weights into a core net by layer name; returns the layers that got some.

    All shapes are checked before anything is changed. Raises DataError.
    """
    rows = core.params()
    plan = []
    taken = []
    for layer in core.layers():
        arrays = weights.get(layer["name"])
        if not arrays or not layer["params"]:
            continue
        if len(arrays) != len(layer["params"]):
            raise DataError(
                f"{name}: layer '{layer['name']}' has {len(arrays)} parameters there, "
                f"but {len(layer['params'])} in this net"
            )
        taken.append(layer["name"])
        for place, (index, array) in enumerate(zip(layer["params"], arrays, strict=True)):
            if array is None:
                continue
            shape = rows[index]["shape"]
            fitted = fit(np.asarray(array), shape)
            if fitted is None:
                raise DataError(
                    f"{name}: parameter {place} of layer '{layer['name']}' has shape "
                    f"{tuple(np.shape(array))}, but {tuple(shape)} in this net. To train that "
                    "layer anew under these weights, rename it"
                )
            plan.append((index, fitted))
    ignored = [n for n in weights if n not in taken and weights[n]]
    if ignored:
        _log.info("%s: ignoring layers that this net lacks: %s", name, ", ".join(ignored))
    if weights and not taken:
        _log.warning("%s: no layer of this net has weights there", name)
    for index, array in plan:
        core.param_data(index)[...] = array
    return taken


def save_weights(
    path: str | Path,
    core: Net,
    param: NetParameter,
    write_diff: bool = False,
    hdf5: bool | None = None,
) -> None:
    """Write the parameters of a core net, byte for byte as Caffe does. param: its filtered
    NetParameter. Raises DataError."""
    rows = core.params()
    weights = {r["name"]: [core.param_data(i) for i in r["params"]] for r in core.layers()}
    weights = {name: arrays for name, arrays in weights.items() if arrays}
    diffs = None
    if write_diff:
        diffs = {r["name"]: [core.param_diff(i) for i in r["params"]] for r in core.layers()}
    shared = {(r["layer"], r["index"]) for i, r in enumerate(rows) if r["owner"] != i}
    write_weights(path, _as_built(core, param), weights, diffs, shared=shared, hdf5=hdf5)


def _as_built(core: Net, param: NetParameter) -> NetParameter:
    """The net as Caffe saves it: with the layers that split its blobs, the blobs that are read
    after them, and the weight of a loss that was not given."""
    built = type(param)()
    built.CopyFrom(param)
    built.ClearField("layer")
    given = {layer.name: layer for layer in param.layer}
    for row in core.layers():
        layer = built.layer.add(name=row["name"], type=row["type"])
        if row["name"] in given:
            layer.CopyFrom(given[row["name"]])
        del layer.bottom[:], layer.top[:]
        layer.bottom.extend(row["bottoms"])
        layer.top.extend(row["tops"])
        # As in loss_layer.cpp, LayerSetUp.
        if row["loss_weights"] == [1.0] and not layer.loss_weight and row["name"] in given:
            layer.loss_weight.append(1)
    return built
