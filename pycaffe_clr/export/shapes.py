"""Layers that move values without changing them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.export.graph import Layer


def _concat(layer: Layer) -> list[str]:
    param = layer.param.concat_param
    axis = param.concat_dim if param.HasField("concat_dim") else layer.axis(param.axis)
    return [layer.node("Concat", *layer.bottoms, axis=axis)]


def _slice(layer: Layer) -> list[str]:
    param = layer.param.slice_param
    axis = param.slice_dim if param.HasField("slice_dim") else layer.axis(param.axis)
    sizes = [shape[axis] for shape in layer.out_shapes]
    if len(sizes) == 1:
        return [layer.node("Identity", layer.bottoms[0])]
    return layer.nodes("Split", [layer.bottoms[0], layer.integers(sizes)], len(sizes), axis=axis)


def _split(layer: Layer) -> list[str]:
    return [layer.node("Identity", layer.bottoms[0]) for _ in layer.out_shapes]


def _reshape(layer: Layer) -> list[str]:
    return [layer.reshaped(layer.bottoms[0], layer.in_shapes[0], layer.out_shapes[0])]


def _crop(layer: Layer) -> list[str]:
    """From the axis on, the part of the first bottom that has the second one's size."""
    param = layer.param.crop_param
    first = layer.axis(param.axis)
    axes = list(range(first, len(layer.in_shapes[0])))
    offsets = list(param.offset) or [0]
    offsets *= len(axes) if len(offsets) == 1 else 1
    ends = [at + layer.out_shapes[0][axis] for at, axis in zip(offsets, axes, strict=True)]
    limits = [layer.integers(values) for values in (offsets, ends, axes)]
    return [layer.node("Slice", layer.bottoms[0], *limits)]


def _tile(layer: Layer) -> list[str]:
    param = layer.param.tile_param
    repeats = [1] * len(layer.in_shapes[0])
    repeats[layer.axis(param.axis)] = param.tiles
    return [layer.node("Tile", layer.bottoms[0], layer.integers(repeats))]


def _permute(layer: Layer) -> list[str]:
    fork: Any = layer.param
    order = list(fork.permute_param.order)
    order += [axis for axis in range(len(layer.in_shapes[0])) if axis not in order]
    return [layer.node("Transpose", layer.bottoms[0], perm=order)]


def _shuffle(layer: Layer) -> list[str]:
    fork: Any = layer.param
    group = fork.shuffle_channel_param.group
    _, channels, height, width = layer.in_shapes[0]
    apart = [0, group, channels // group, height * width]
    grouped = layer.node("Reshape", layer.bottoms[0], layer.integers(apart))
    mixed = layer.node("Transpose", grouped, perm=[0, 2, 1, 3])
    return [layer.node("Reshape", mixed, layer.integers([0, channels, height, width]))]


def _batch_reindex(layer: Layer) -> list[str]:
    index = layer.node("Cast", layer.bottoms[1], to=7)  # int64
    return [layer.node("Gather", layer.bottoms[0], index, axis=0)]


def _filter(layer: Layer) -> list[str]:
    """The samples whose selector is not 0: as many as there are when it runs."""
    flat = layer.node("Reshape", layer.bottoms[-1], layer.integers([-1]))
    chosen = layer.node("Cast", flat, to=9)  # bool
    return [layer.node("Compress", bottom, chosen, axis=0) for bottom in layer.bottoms[:-1]]


def _parameter(layer: Layer) -> list[str]:
    return [layer.node("Identity", layer.weight(0))]


def _spatial_pyramid(layer: Layer) -> list[str]:
    """Pools of 1, 2x2, 4x4, ... windows, flat, one after the other (spp_layer.cpp)."""
    param = layer.param.spp_param
    if param.pool != param.MAX:
        raise ConfigError("only pyramids of maxima can be exported")
    height, width = layer.in_shapes[0][2:]
    levels = []
    for level in range(param.pyramid_height):
        bins = 2**level
        kernel = [-(-height // bins), -(-width // bins)]
        missing = [kernel[0] * bins - height, kernel[1] * bins - width]
        pad = [(each + 1) // 2 for each in missing]
        end = [each - begin for each, begin in zip(missing, pad, strict=True)]
        pooled = layer.node(
            "MaxPool", layer.bottoms[0], kernel_shape=kernel, strides=kernel, pads=[*pad, *end]
        )
        levels.append(layer.node("Flatten", pooled, axis=1))
    return [layer.node("Concat", *levels, axis=1) if len(levels) > 1 else levels[0]]


SHAPES: dict[str, Callable[[Layer], list[str]]] = {
    "BatchReindex": _batch_reindex,
    "Concat": _concat,
    "Crop": _crop,
    "Filter": _filter,
    "Flatten": _reshape,
    "Parameter": _parameter,
    "Permute": _permute,
    "Reshape": _reshape,
    "SPP": _spatial_pyramid,
    "ShuffleChannel": _shuffle,
    "Slice": _slice,
    "Split": _split,
    "Tile": _tile,
}
