"""debug_info: mean magnitudes of every blob and parameter, as Caffe's net.cpp logs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pycaffe_clr.train.log import CaffeLog, number

if TYPE_CHECKING:
    from pycaffe_clr._core import Net
    from pycaffe_clr.core_types import LayerRow


def _mean(array: np.ndarray) -> float:
    return float(np.abs(array, dtype=np.float64).mean()) if array.size else 0.0


def _l1(array: np.ndarray) -> str:
    return number(float(np.abs(array).sum()))


def _l2(array: np.ndarray) -> str:
    return number(float(np.sqrt(np.square(array).sum())))


def forward_backward(log: CaffeLog, net: Net, iter_size: int) -> float:
    """The gradient half of an iteration, layer by layer and logged; returns the mean loss.

    net: a core train net built with fuse=False. It makes the same pass as without debug_info.
    """
    net.clear_param_diffs()
    loss = 0.0
    for _ in range(iter_size):
        loss += _forward(log, net)
        _backward(log, net)
    return loss / iter_size


def _forward(log: CaffeLog, net: Net) -> float:
    loss = 0.0
    params = net.params()
    for position, layer in enumerate(net.layers()):
        loss += net.forward(position, position)
        for place, top in enumerate(layer["tops"]):
            value = net.magnitude(position, place, False)
            _line(log, "Forward", layer, f"top blob {top} data", value, 544)
        for place, index in enumerate(layer["params"]):
            name = params[index]["name"] or str(place)
            value = _mean(net.param_data(index))
            _line(log, "Forward", layer, f"param blob {name} data", value, 556)
    return loss


def _backward(log: CaffeLog, net: Net) -> None:
    layers = net.layers()
    params = net.params()
    for position in reversed(range(len(layers))):
        layer = layers[position]
        if not layer["need_backward"]:
            continue
        net.backward(position, position)
        for place, bottom in enumerate(layer["bottoms"]):
            if layer["bottom_need_backward"][place]:
                value = net.magnitude(position, place, True)
                _line(log, "Backward", layer, f"bottom blob {bottom} diff", value, 569)
        for place, index in enumerate(layer["params"]):
            if params[index]["lr_mult"]:
                value = _mean(net.param_diff(index))
                _line(log, "Backward", layer, f"param blob {place} diff", value, 579)
    blocks = [(net.param_data(i).ravel(), net.param_diff(i).ravel()) for i in net.learnable()]
    data, diff = (np.concatenate(part).astype(np.float64) for part in zip(*blocks, strict=True))
    log.write(
        "    [Backward] All net params (data, diff): "
        f"L1 norm = ({_l1(data)}, {_l1(diff)}); L2 norm = ({_l2(data)}, {_l2(diff)})",
        "net.cpp:618",
        "E",
    )


def param_means(net: Net) -> list[float]:
    """Mean magnitude of every parameter."""
    return [_mean(net.param_data(index)) for index in range(len(net.params()))]


def log_update(log: CaffeLog, net: Net, before: list[float]) -> None:
    """The [Update] lines, after an update: the parameters, and what was subtracted from them.

    before: param_means before the update, which Caffe prints: it updates after printing.
    """
    params = net.params()
    for layer in net.layers():
        for place, index in enumerate(layer["params"]):
            row = params[index]
            diff = _mean(net.param_diff(index))
            if row["owner"] == index:
                log.write(
                    f"    [Update] Layer {layer['name']}, param {row['name'] or place} "
                    f"data: {number(before[index])}; diff: {number(diff)}",
                    "net.cpp:592",
                )
            else:
                owner = params[row["owner"]]
                log.write(
                    f"    [Update] Layer {layer['name']}, param blob {row['name'] or place} "
                    f"(owned by layer {owner['layer']}, param {row['name']}) "
                    f"diff: {number(diff)}",
                    "net.cpp:600",
                )


def _line(log: CaffeLog, kind: str, layer: LayerRow, what: str, value: float, line: int) -> None:
    text = f"    [{kind}] Layer {layer['name']}, {what}: {number(value)}"
    log.write(text, f"net.cpp:{line}")
