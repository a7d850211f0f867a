"""Layers that work on each value by itself, or on those of one place."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.export.graph import Layer


def _plain(op: str, **attributes: Any) -> Callable[[Layer], list[str]]:
    """A layer that is one operator without settings."""

    def make(layer: Layer) -> list[str]:
        return [layer.node(op, layer.bottoms[0], **attributes)]

    return make


def _relu(layer: Layer) -> list[str]:
    slope = layer.param.relu_param.negative_slope
    if slope:
        return [layer.node("LeakyRelu", layer.bottoms[0], alpha=slope)]
    return [layer.node("Relu", layer.bottoms[0])]


def _clipped(layer: Layer, low: float, high: float) -> list[str]:
    return [layer.node("Clip", layer.bottoms[0], layer.floats(low), layer.floats(high))]


def _relu6(layer: Layer) -> list[str]:
    return _clipped(layer, 0, 6)


def _clip(layer: Layer) -> list[str]:
    return _clipped(layer, layer.param.clip_param.min, layer.param.clip_param.max)


def _prelu(layer: Layer) -> list[str]:
    count = layer.blobs[0].size
    shape = (count, *([1] * (len(layer.in_shapes[0]) - 2))) if count > 1 else (1,)
    slope = layer.weight(0)
    if layer.blobs[0].shape != shape:
        slope = layer.node("Reshape", slope, layer.integers(shape))
    return [layer.node("PRelu", layer.bottoms[0], slope)]


def _elu(layer: Layer) -> list[str]:
    return [layer.node("Elu", layer.bottoms[0], alpha=layer.param.elu_param.alpha)]


def _swish(layer: Layer) -> list[str]:
    bottom = layer.bottoms[0]
    scaled = _scaled(layer, bottom, layer.param.swish_param.beta, 0)
    return [layer.node("Mul", bottom, layer.node("Sigmoid", scaled))]


def _threshold(layer: Layer) -> list[str]:
    limit = layer.floats(layer.param.threshold_param.threshold)
    above = layer.node("Greater", layer.bottoms[0], limit)
    return [layer.node("Cast", above, to=1)]  # float


def _scaled(layer: Layer, tensor: str, scale: float, shift: float) -> str:
    if scale != 1:
        tensor = layer.node("Mul", tensor, layer.floats(scale))
    return layer.node("Add", tensor, layer.floats(shift)) if shift else tensor


def _power(layer: Layer) -> list[str]:
    param = layer.param.power_param
    inner = _scaled(layer, layer.bottoms[0], param.scale, param.shift)
    return [layer.node("Pow", inner, layer.floats(param.power)) if param.power != 1 else inner]


def _exp(layer: Layer) -> list[str]:
    """base ** (shift + scale * x)."""
    param = layer.param.exp_param
    log = 1.0 if param.base < 0 else math.log(param.base)
    inner = _scaled(layer, layer.bottoms[0], log * param.scale, log * param.shift)
    return [layer.node("Exp", inner)]


def _log(layer: Layer) -> list[str]:
    """The logarithm of shift + scale * x to a base."""
    param = layer.param.log_param
    log = 1.0 if param.base < 0 else math.log(param.base)
    inner = _scaled(layer, layer.bottoms[0], param.scale, param.shift)
    return [_scaled(layer, layer.node("Log", inner), 1 / log, 0)]


def _eltwise(layer: Layer) -> list[str]:
    param = layer.param.eltwise_param
    tensors = list(layer.bottoms)
    if param.operation == param.SUM and len(param.coeff):
        tensors = [
            _scaled(layer, tensor, factor, 0)
            for tensor, factor in zip(tensors, param.coeff, strict=True)
        ]
    op = {param.SUM: "Add", param.PROD: "Mul", param.MAX: "Max"}[param.operation]
    total = tensors[0]
    for tensor in tensors[1:]:
        total = layer.node(op, total, tensor)
    return [total]


def _aligned(layer: Layer, factor: str, shape: tuple[int, ...], axis: int) -> str:
    """A factor or summand that covers some axes, so that it spreads over the others."""
    rank = len(layer.in_shapes[0])
    after = rank - axis - len(shape)
    if after < 0:
        raise ConfigError(f"a factor of shape {shape} from axis {axis} on does not fit")
    if not after and shape:
        return factor
    return layer.node("Reshape", factor, layer.integers([*shape, *([1] * after)] or [1]))


def _scale(layer: Layer) -> list[str]:
    param = layer.param.scale_param
    axis = layer.axis(param.axis)
    own = len(layer.bottoms) == 1
    factor = layer.weight(0) if own else layer.bottoms[1]
    shape = layer.blobs[0].shape if own else layer.in_shapes[1]
    scaled = layer.node("Mul", layer.bottoms[0], _aligned(layer, factor, tuple(shape), axis))
    if not param.bias_term:
        return [scaled]
    summand = layer.blobs[-1].shape
    bias = _aligned(layer, layer.weight(len(layer.blobs) - 1), tuple(summand), axis)
    return [layer.node("Add", scaled, bias)]


def _bias(layer: Layer) -> list[str]:
    axis = layer.axis(layer.param.bias_param.axis)
    own = len(layer.bottoms) == 1
    summand = layer.weight(0) if own else layer.bottoms[1]
    shape = layer.blobs[0].shape if own else layer.in_shapes[1]
    return [layer.node("Add", layer.bottoms[0], _aligned(layer, summand, tuple(shape), axis))]


def _axpy(layer: Layer) -> list[str]:
    """scale * x + y, with a scale for each channel."""
    scale, x, y = layer.bottoms
    rank = len(layer.in_shapes[1])
    if len(layer.in_shapes[0]) != rank:
        dims = [0, 0, *([1] * (rank - 2))]
        scale = layer.node("Reshape", scale, layer.integers(dims))
    return [layer.node("Add", layer.node("Mul", scale, x), y)]


def _dropout(layer: Layer) -> list[str]:
    ratio = layer.floats(layer.param.dropout_param.dropout_ratio)
    return [layer.node("Dropout", layer.bottoms[0], ratio)]


ELEMENTWISE: dict[str, Callable[[Layer], list[str]]] = {
    "AbsVal": _plain("Abs"),
    "Axpy": _axpy,
    "BNLL": _plain("Softplus"),
    "Bias": _bias,
    "Clip": _clip,
    "Dropout": _dropout,
    "ELU": _elu,
    "Eltwise": _eltwise,
    "Exp": _exp,
    "Log": _log,
    "PReLU": _prelu,
    "Power": _power,
    "ReLU": _relu,
    "ReLU6": _relu6,
    "Scale": _scale,
    "Sigmoid": _plain("Sigmoid"),
    "Swish": _swish,
    "TanH": _plain("Tanh"),
    "Threshold": _threshold,
}
