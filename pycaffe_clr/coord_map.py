"""Where the pixels of one blob of a NetSpec lie in another: to crop and align feature maps.

A map is (axis, scale, shift): pixel i of one blob, which for a layer is its input, lies at
scale * i + shift of the other, along the axes after `axis`. None as the axis is that of pointwise
layers, which leave every coordinate as it is. Scale and shift are numbers, or arrays with one entry
or one for each spatial axis.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.net_spec import Function, Top
from pycaffe_clr.net_spec import layers as L

CoordMap = tuple[int | None, Any, Any]

PASS_THROUGH_LAYERS = [
    "AbsVal", "BatchNorm", "Bias", "BNLL", "Clip", "Dropout", "Eltwise", "ELU", "Exp", "Log", "LRN",
    "MVN", "Power", "PReLU", "ReLU", "Scale", "Sigmoid", "Split", "Swish", "TanH", "Threshold",
]  # fmt: skip
_IDENTITY: CoordMap = (None, 1, 0)
_LEGACY = {"pad_h", "pad_w", "kernel_h", "kernel_w", "stride_h", "stride_w"}


class UndefinedMapException(ConfigError):
    """A layer that maps no coordinates, such as InnerProduct."""


class AxisMismatchException(ConfigError):
    """Maps along other axes cannot be put together."""


class UnconnectedException(ConfigError, RuntimeError):
    """Two blobs that no spatial layers connect."""


class CropException(ConfigError, AssertionError):
    """A blob that cannot be cropped to another."""


def conv_params(fn: Function) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """(axis, stride, kernel size, pad) of a convolution, pooling or im2col; the kernel as far as
    its dilation makes it reach. Raises CropException for kernel_h and the like."""
    params = fn.params.get("convolution_param", fn.params.get("pooling_param", fn.params))
    if _LEGACY & {*fn.params, *params}:
        raise CropException(f"{fn.type_name}: coordinates are not mapped through _h and _w fields")
    if "kernel_size" not in params:
        raise UndefinedMapException(f"{fn.type_name}: kernel_size is not set")

    def each(name: str, default: int) -> np.ndarray:
        return np.array(params.get(name, default), ndmin=1)

    kernel = (each("kernel_size", 1) - 1) * each("dilation", 1) + 1
    return params.get("axis", 1), each("stride", 1), kernel, each("pad", 0)


def crop_params(fn: Function) -> tuple[int, np.ndarray]:
    """(axis, offset) of a Crop layer."""
    params = fn.params.get("crop_param", fn.params)
    return params.get("axis", 2), np.array(params.get("offset", 0), ndmin=1)


def coord_map(fn: Function) -> CoordMap:
    """The map of one layer. Raises UndefinedMapException for a type that has none."""
    if fn.type_name in ("Convolution", "Pooling", "Im2col"):
        axis, stride, kernel, pad = conv_params(fn)
        return axis, 1 / stride, (pad - (kernel - 1) / 2) / stride
    if fn.type_name == "Deconvolution":
        axis, stride, kernel, pad = conv_params(fn)
        return axis, stride, (kernel - 1) / 2 - pad
    if fn.type_name in PASS_THROUGH_LAYERS:
        return _IDENTITY
    if fn.type_name == "Crop":
        axis, offset = crop_params(fn)
        return axis - 1, 1, -offset  # counted from the axis before the first that is cropped
    raise UndefinedMapException(f"{fn.type_name} maps no coordinates")


def compose(base_map: CoordMap, next_map: CoordMap) -> CoordMap:
    """One map after another. Raises AxisMismatchException."""
    (base_axis, base_scale, base_shift), (axis, scale, shift) = base_map, next_map
    if base_axis is not None and axis is not None and base_axis != axis:
        raise AxisMismatchException(f"maps from axis {base_axis} and from axis {axis}")
    axis = axis if base_axis is None else base_axis
    return axis, base_scale * scale, base_scale * shift + base_shift


def inverse(coord_map: CoordMap) -> CoordMap:
    """The map in the other direction."""
    axis, scale, shift = coord_map
    return axis, 1 / scale, -shift / scale


def _ancestors(top: Top) -> dict[Top, CoordMap]:
    """All blobs that a blob is made of by layers with a map, nearest first, and the maps there."""
    maps = {top: _IDENTITY}
    waiting = deque([top])
    while waiting:
        above = waiting.popleft()
        try:
            step = coord_map(above.fn)
        except UndefinedMapException:
            continue
        # The second bottom of a Crop only lends its size.
        for bottom in above.fn.inputs[: 1 if above.fn.type_name == "Crop" else None]:
            if bottom not in maps:
                maps[bottom] = compose(maps[above], step)
                waiting.append(bottom)
    return maps


def coord_map_from_to(top_from: Top, top_to: Top) -> CoordMap:
    """The map from one blob to another, through a blob that both are made of.

    Raises UnconnectedException, a RuntimeError, where there is none.
    """
    start = _ancestors(top_from)
    for top, way in _ancestors(top_to).items():
        if top in start:
            return compose(way, inverse(start[top]))
    raise UnconnectedException(
        f"no spatial layers connect the {top_from.fn.type_name} with the {top_to.fn.type_name}"
    )


def crop(top_from: Top, top_to: Top) -> Any:
    """A Crop layer that cuts one blob to where another lies.

    Raises CropException, an AssertionError, where they differ in scale, where pixels would have to
    be added, or where pixels lie between pixels; UnconnectedException.
    """
    axis, scale, shift = coord_map_from_to(top_from, top_to)
    scale, shift = np.atleast_1d(scale), np.atleast_1d(shift)
    if not (scale == 1).all():
        raise CropException(f"scale mismatch on crop (a = {scale})")
    if not (shift <= 0).all():
        raise CropException(f"cannot crop negative offset (b = {shift})")
    if not (np.round(shift) == shift).all():
        raise CropException(f"cannot crop noninteger offset (b = {shift})")
    offset = (-np.round(shift)).astype(int).tolist()
    first = 2 if axis is None else axis + 1
    return L.Crop(top_from, top_to, crop_param={"axis": first, "offset": offset})
