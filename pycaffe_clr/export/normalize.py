"""Layers that put values in relation to others: normalizations, Softmax, reductions, ArgMax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.export.graph import Layer


def _batch_norm(layer: Layer) -> list[str]:
    """By the running statistics, which Caffe keeps as sums with the sum of their weights."""
    mean, variance, weight = layer.blobs[:3]
    factor = 0.0 if not weight[0] else 1 / weight[0]
    param = layer.param.batch_norm_param
    if param.HasField("use_global_stats") and not param.use_global_stats:
        raise ConfigError("a BatchNorm by the batch's own statistics cannot be exported")
    count = mean.size
    own = len(layer.blobs) >= 5  # NVCaffe's scale and bias
    scale = layer.weight(3) if own else layer.floats(np.ones(count))
    bias = layer.weight(4) if own else layer.floats(np.zeros(count))
    statistics = [layer.floats(values.ravel() * factor) for values in (mean, variance)]
    return [
        layer.node(
            "BatchNormalization", layer.bottoms[0], scale, bias, *statistics, epsilon=param.eps
        )
    ]


def _softmax(layer: Layer) -> list[str]:
    axis = layer.axis(layer.param.softmax_param.axis)
    return [layer.node("Softmax", layer.bottoms[0], axis=axis)]


def _mean_variance(layer: Layer) -> list[str]:
    """(x - mean) / (deviation + eps), over the picture or the whole sample."""
    param = layer.param.mvn_param
    axes = list(range(1 if param.across_channels else 2, len(layer.in_shapes[0])))
    mean = layer.node("ReduceMean", layer.bottoms[0], axes=axes, keepdims=1)
    centred = layer.node("Sub", layer.bottoms[0], mean)
    if not param.normalize_variance:
        return [centred]
    square = layer.node("Mul", centred, centred)
    deviation = layer.node("Sqrt", layer.node("ReduceMean", square, axes=axes, keepdims=1))
    return [layer.node("Div", centred, layer.node("Add", deviation, layer.floats(param.eps)))]


def _normalize(layer: Layer) -> list[str]:
    """SSD's: by the norm of a place's channels, or of the sample, then a scale."""
    fork: Any = layer.param
    param = fork.norm_param
    axes = [1, 2, 3] if param.across_spatial else [1]
    square = layer.node("Mul", layer.bottoms[0], layer.bottoms[0])
    total = layer.node("ReduceSum", square, layer.integers(axes), keepdims=1)
    norm = layer.node("Sqrt", layer.node("Add", total, layer.floats(param.eps)))
    scale = layer.weight(0)
    if layer.blobs[0].size > 1:
        scale = layer.node("Reshape", scale, layer.integers([1, -1, 1, 1]))
    return [layer.node("Mul", layer.node("Div", layer.bottoms[0], norm), scale)]


def _reduction(layer: Layer) -> list[str]:
    """Of the last axes, to a sum, a mean, or sums of sizes or squares, times a factor."""
    param = layer.param.reduction_param
    first = layer.axis(param.axis)
    axes = list(range(first, len(layer.in_shapes[0])))
    bottom = layer.bottoms[0]
    if param.operation == param.ASUM:
        bottom = layer.node("Abs", bottom)
    elif param.operation == param.SUMSQ:
        bottom = layer.node("Mul", bottom, bottom)
    if param.operation == param.MEAN:
        total = layer.node("ReduceMean", bottom, axes=axes, keepdims=0)
    else:
        total = layer.node("ReduceSum", bottom, layer.integers(axes), keepdims=0)
    return [layer.node("Mul", total, layer.floats(param.coeff))] if param.coeff != 1 else [total]


def _arg_max(layer: Layer) -> list[str]:
    param = layer.param.argmax_param
    bottom, shape = layer.bottoms[0], layer.in_shapes[0]
    if param.HasField("axis"):
        axis = layer.axis(param.axis)
    else:
        bottom, axis = layer.node("Flatten", bottom, axis=1), 1
    values, index = layer.nodes("TopK", [bottom, layer.integers([param.top_k])], 2, axis=axis)
    index = layer.node("Cast", index, to=1)  # float
    if param.HasField("axis"):
        return [values if param.out_max_val else index]
    if param.out_max_val:  # (N, 2, k)
        pair = [layer.node("Unsqueeze", each, layer.integers([1])) for each in (index, values)]
        return [layer.node("Concat", *pair, axis=1)]
    after = layer.out_shapes[0]
    return [layer.reshaped(index, (shape[0], param.top_k), after)]


NORMALIZE: dict[str, Callable[[Layer], list[str]]] = {
    "ArgMax": _arg_max,
    "BatchNorm": _batch_norm,
    "MVN": _mean_variance,
    "Normalize": _normalize,
    "Reduction": _reduction,
    "Softmax": _softmax,
}
