"""Layers with windows and products: convolutions, pooling, inner products, embeddings."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.export.graph import Layer


def _spatial(param: Any, name: str, both: str, axes: int, default: int) -> list[int]:
    """A window's setting for each axis, of the list or of the pair with _h and _w."""
    if param.HasField(f"{both}_h") or param.HasField(f"{both}_w"):
        return [getattr(param, f"{both}_h"), getattr(param, f"{both}_w")]
    values = getattr(param, name)
    values = [values] if isinstance(values, int) else list(values)
    return (values or [default]) * (axes if len(values) <= 1 else 1)


def _windows(layer: Layer, group: int | None = None) -> dict[str, Any]:
    """A convolution's attributes."""
    param = layer.param.convolution_param
    if layer.axis(param.axis) != 1:
        raise ConfigError("a convolution's axis must be 1")
    axes = len(layer.in_shapes[0]) - 2
    pads = _spatial(param, "pad", "pad", axes, 0)
    return {
        "kernel_shape": _spatial(param, "kernel_size", "kernel", axes, 1),
        "strides": _spatial(param, "stride", "stride", axes, 1),
        "pads": [*pads, *pads],
        "dilations": (list(param.dilation) or [1]) * (axes if len(param.dilation) <= 1 else 1),
        "group": param.group if group is None else group,
    }


def _convolution(layer: Layer, transposed: bool, group: int | None = None) -> list[str]:
    attributes = _windows(layer, group)
    weights = [layer.weight(i) for i in range(len(layer.blobs))]
    op = "ConvTranspose" if transposed else "Conv"
    return [layer.node(op, bottom, *weights, **attributes) for bottom in layer.bottoms]


def _conv(layer: Layer) -> list[str]:
    return _convolution(layer, False)


def _deconv(layer: Layer) -> list[str]:
    return _convolution(layer, True)


def _depthwise(layer: Layer) -> list[str]:
    """One filter for each channel, whatever group says."""
    return _convolution(layer, False, layer.in_shapes[0][1])


def _im2col(layer: Layer) -> list[str]:
    """Each place of the window as a channel: by filters that are 1 in that place."""
    channels = layer.in_shapes[0][1]
    windows = _windows(layer, channels)
    places = math.prod(windows["kernel_shape"])
    filters = np.tile(np.eye(places), (channels, 1)).reshape(-1, 1, *windows["kernel_shape"])
    return [
        layer.node("Conv", bottom, layer.floats(filters), **windows) for bottom in layer.bottoms
    ]


def _roi_pooling(layer: Layer) -> list[str]:
    fork: Any = layer.param
    param = fork.roi_pooling_param
    size, scale = [param.pooled_h, param.pooled_w], param.spatial_scale
    return [layer.node("MaxRoiPool", *layer.bottoms, pooled_shape=size, spatial_scale=scale)]


def _pooling(layer: Layer) -> list[str]:
    param = layer.param.pooling_param
    methods = {param.MAX: "MaxPool", param.AVE: "AveragePool"}
    if param.pool not in methods or len(layer.out_shapes) > 1:
        raise ConfigError("only pooling of maxima and means, with one top, can be exported")
    op = methods[param.pool]
    if param.global_pooling:
        return [layer.node(f"Global{op}", layer.bottoms[0])]
    axes = len(layer.in_shapes[0]) - 2
    kernel = _spatial(param, "kernel_size", "kernel", axes, 1)
    stride = _spatial(param, "stride", "stride", axes, 1)
    pad = _spatial(param, "pad", "pad", axes, 0)
    # Caffe's sizes are rounded up: how far the last window reaches beyond the picture.
    beyond = [
        max(0, (out - 1) * s + k - p - size)
        for out, size, k, s, p in zip(
            layer.out_shapes[0][2:], layer.in_shapes[0][2:], kernel, stride, pad, strict=True
        )
    ]
    if any(b >= k for b, k in zip(beyond, kernel, strict=True)):
        raise ConfigError("a pooling window lies outside of its picture")
    windows = {"kernel_shape": kernel, "strides": stride}
    if op == "MaxPool" or not any(pad):
        return [layer.node(op, layer.bottoms[0], pads=[*pad, *beyond], **windows)]
    # Zeros of the padding count in Caffe's means, what lies further out does not.
    padded = [min(p, b) for p, b in zip(pad, beyond, strict=True)]
    amounts = layer.integers([0, 0, *pad, 0, 0, *padded])
    bottom = layer.node("Pad", layer.bottoms[0], amounts, mode="constant")
    rest = [b - p for b, p in zip(beyond, padded, strict=True)]
    return [layer.node(op, bottom, pads=[*([0] * axes), *rest], **windows)]


def _inner_product(layer: Layer) -> list[str]:
    param = layer.param.inner_product_param
    axis = layer.axis(param.axis)
    shape, out = layer.in_shapes[0], layer.out_shapes[0]
    flat = layer.node("Flatten", layer.bottoms[0], axis=axis)
    weights = [layer.weight(i) for i in range(len(layer.blobs))]
    product = layer.node("Gemm", flat, *weights, transB=0 if param.transpose else 1)
    if axis == 1:
        return [product]
    return [layer.node("Reshape", product, layer.integers([*_batched(shape[:axis]), out[-1]]))]


def _batched(dims: Sequence[int]) -> list[int]:
    """Dims of which the first one follows from the others."""
    return [-1, *dims[1:]] if dims else []


def _embed(layer: Layer) -> list[str]:
    index = layer.node("Cast", layer.bottoms[0], to=7)  # int64
    rows = layer.node("Gather", layer.weight(0), index, axis=0)
    return [layer.node("Add", rows, layer.weight(1)) if len(layer.blobs) > 1 else rows]


def _interp(layer: Layer) -> list[str]:
    """DeepLab's: the corners stay corners."""
    fork: Any = layer.param
    param = fork.interp_param
    bottom = layer.bottoms[0]
    if param.pad_beg or param.pad_end:
        # 0 or less: cuts.
        starts = layer.integers([-param.pad_beg] * 2)
        ends = layer.integers([size + param.pad_end for size in layer.in_shapes[0][2:]])
        bottom = layer.node("Slice", bottom, starts, ends, layer.integers([2, 3]))
    return [_drawn(layer, bottom, layer.out_shapes[0])]


def _drawn(layer: Layer, bottom: str, shape: Sequence[int]) -> str:
    """In another size, the corners in the corners."""
    return layer.node(
        "Resize", bottom, "", "", layer.integers(shape), mode="linear",
        coordinate_transformation_mode="align_corners",
    )  # fmt: skip


def _resize(layer: Layer) -> list[str]:
    """Between a row and a column of zeros more, which are cut off again."""
    shape = layer.out_shapes[0]
    grown = layer.node("Pad", layer.bottoms[0], layer.integers([0, 0, 0, 0, 0, 0, 1, 1]))
    drawn = _drawn(layer, grown, [*shape[:2], shape[2] + 1, shape[3] + 1])
    ends = layer.integers(shape[2:])
    return [layer.node("Slice", drawn, layer.integers([0, 0]), ends, layer.integers([2, 3]))]


def _local_response(layer: Layer) -> list[str]:
    param = layer.param.lrn_param
    size, bottom = param.local_size, layer.bottoms[0]
    if param.norm_region == param.ACROSS_CHANNELS:
        return [
            layer.node("LRN", bottom, size=size, alpha=param.alpha, beta=param.beta, bias=param.k)
        ]
    square = layer.node("Mul", bottom, bottom)
    mean = layer.node(
        "AveragePool", square, kernel_shape=[size, size], strides=[1, 1],
        pads=[size // 2] * 4, count_include_pad=1,
    )  # fmt: skip
    sums = layer.node("Add", layer.node("Mul", mean, layer.floats(param.alpha)), layer.floats(1))
    return [layer.node("Mul", bottom, layer.node("Pow", sums, layer.floats(-param.beta)))]


LINEAR: dict[str, Callable[[Layer], list[str]]] = {
    "Convolution": _conv,
    "Deconvolution": _deconv,
    "DepthwiseConvolution": _depthwise,
    "ConvolutionDepthwise": _depthwise,
    "Embed": _embed,
    "Im2col": _im2col,
    "InnerProduct": _inner_product,
    "Interp": _interp,
    "LRN": _local_response,
    "Pooling": _pooling,
    "ROIPooling": _roi_pooling,
    "Resize": _resize,
}
