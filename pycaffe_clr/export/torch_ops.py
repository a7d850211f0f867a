"""ONNX's operators, as far as graphs have them, by PyTorch's functions.

Each takes whether the module trains, the node's attributes, and its inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.nn import functional as F

Attributes = dict[str, Any]
Op = Callable[..., Any]


def _plain(function: Callable[..., Any]) -> Op:
    """A function of the inputs alone."""

    def run(training: bool, given: Attributes, *inputs: Any) -> Any:
        return function(*inputs)

    return run


def _by_axes(one: Op, two: Op, three: Op, x: Any) -> Op:
    """The one of three functions that is for as many spatial axes as x has."""
    return (one, two, three)[x.dim() - 3]


def _padded(x: Any, pads: Sequence[int], value: float) -> Any:
    """x with pads in ONNX's order: all begins, then all ends."""
    if not any(pads):
        return x
    half = len(pads) // 2
    pairs = [(pads[axis], pads[half + axis]) for axis in reversed(range(half))]
    return F.pad(x, [each for pair in pairs for each in pair], value=value)


def _conv(training: bool, given: Attributes, x: Any, weight: Any, bias: Any = None) -> Any:
    run = _by_axes(F.conv1d, F.conv2d, F.conv3d, x)
    x = _padded(x, given["pads"], 0.0)
    return run(x, weight, bias, given["strides"], 0, given["dilations"], given["group"])


def _deconv(training: bool, given: Attributes, x: Any, weight: Any, bias: Any = None) -> Any:
    run = _by_axes(F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d, x)
    pads = given["pads"][: x.dim() - 2]
    return run(x, weight, bias, given["strides"], pads, 0, given["group"], given["dilations"])


def _max_pool(training: bool, given: Attributes, x: Any) -> Any:
    run = _by_axes(F.max_pool1d, F.max_pool2d, F.max_pool3d, x)
    padded = _padded(x, given["pads"], float("-inf"))
    return run(padded, given["kernel_shape"], given["strides"])


def _mean_pool(training: bool, given: Attributes, x: Any) -> Any:
    run = _by_axes(F.avg_pool1d, F.avg_pool2d, F.avg_pool3d, x)
    pads, window = given["pads"], (given["kernel_shape"], given["strides"])
    sums = run(_padded(x, pads, 0.0), *window)
    if not any(pads) or given.get("count_include_pad"):
        return sums
    inside = _padded(torch.ones_like(x[:1, :1]), pads, 0.0)
    return sums / run(inside, *window)


def _global(function: str) -> Op:
    def run(training: bool, given: Attributes, x: Any) -> Any:
        return getattr(x, function)(dim=tuple(range(2, x.dim())), keepdim=True)

    return run


def _gemm(training: bool, given: Attributes, x: Any, weight: Any, bias: Any = None) -> Any:
    return F.linear(x, weight if given["transB"] else weight.t(), bias)


def _reshape(training: bool, given: Attributes, x: Any, dims: Sequence[int]) -> Any:
    return x.reshape([x.shape[axis] if size == 0 else size for axis, size in enumerate(dims)])


def _flatten(training: bool, given: Attributes, x: Any) -> Any:
    return x.reshape(x.shape[: given["axis"]].numel(), -1)


def _cast(training: bool, given: Attributes, x: Any) -> Any:
    return x.to({1: torch.float32, 7: torch.int64, 9: torch.bool}[given["to"]])


def _gather(training: bool, given: Attributes, x: Any, index: Any) -> Any:
    return x[index]


def _pad(training: bool, given: Attributes, x: Any, amounts: Sequence[int]) -> Any:
    return _padded(x, amounts, 0.0)


def _leaky(training: bool, given: Attributes, x: Any) -> Any:
    return F.leaky_relu(x, given["alpha"])


def _prelu(training: bool, given: Attributes, x: Any, slope: Any) -> Any:
    return torch.where(x >= 0, x, slope * x)


def _elu(training: bool, given: Attributes, x: Any) -> Any:
    return F.elu(x, given["alpha"])


def _dropout(training: bool, given: Attributes, x: Any, ratio: Any) -> Any:
    return F.dropout(x, float(ratio), training)


def _batch_norm(
    training: bool, given: Attributes, x: Any, scale: Any, bias: Any, mean: Any, variance: Any
) -> Any:
    return F.batch_norm(x, mean, variance, scale, bias, training, eps=given["epsilon"])


def _lrn(training: bool, given: Attributes, x: Any) -> Any:
    return F.local_response_norm(x, given["size"], given["alpha"], given["beta"], given["bias"])


def _softmax(training: bool, given: Attributes, x: Any) -> Any:
    return F.softmax(x, given["axis"])


def _reduce_mean(training: bool, given: Attributes, x: Any) -> Any:
    return x.mean(given["axes"], keepdim=bool(given["keepdims"]))


def _reduce_sum(training: bool, given: Attributes, x: Any, axes: Sequence[int]) -> Any:
    return x.sum(list(axes), keepdim=bool(given["keepdims"]))


def _top_k(training: bool, given: Attributes, x: Any, count: Sequence[int]) -> Any:
    return x.topk(count[0], given["axis"])


def _unsqueeze(training: bool, given: Attributes, x: Any, axes: Sequence[int]) -> Any:
    return x.unsqueeze(axes[0])


def _concat(training: bool, given: Attributes, *inputs: Any) -> Any:
    return torch.cat(inputs, given["axis"])


def _split(training: bool, given: Attributes, x: Any, sizes: Sequence[int]) -> Any:
    return x.split(list(sizes), given["axis"])


def _slice(
    training: bool, given: Attributes, x: Any, starts: Any, ends: Any, axes: Sequence[int]
) -> Any:
    for start, end, axis in zip(starts, ends, axes, strict=True):
        x = x.narrow(axis, start, min(end, x.shape[axis]) - start)
    return x


def _tile(training: bool, given: Attributes, x: Any, repeats: Sequence[int]) -> Any:
    return x.repeat(*repeats)


def _transpose(training: bool, given: Attributes, x: Any) -> Any:
    return x.permute(given["perm"])


def _resize(training: bool, given: Attributes, x: Any, roi: Any, scales: Any, sizes: Any) -> Any:
    return F.interpolate(x, sizes[2:], mode="bilinear", align_corners=True)


def _max_roi_pool(training: bool, given: Attributes, x: Any, rois: Any) -> Any:
    """As roi_pooling_layer.cpp: rounded corners, bins that overlap, 0 where one is empty."""
    rows, columns = given["pooled_shape"]
    pooled = x.new_zeros(len(rois), x.shape[1], rows, columns)
    for number, roi in enumerate(rois.tolist()):
        image = x[int(roi[0])]
        left, top, right, bottom = (
            int(math.copysign(math.floor(abs(at) + 0.5), at))
            for at in (each * given["spatial_scale"] for each in roi[1:5])
        )
        for row, low, high in _bins(top, bottom, rows, image.shape[1]):
            for column, begin, end in _bins(left, right, columns, image.shape[2]):
                if high > low and end > begin:
                    bin_ = image[:, low:high, begin:end]
                    pooled[number, :, row, column] = bin_.amax(dim=(1, 2))
    return pooled


def _bins(first: int, last: int, count: int, size: int) -> Iterator[tuple[int, int, int]]:
    step = max(last - first + 1, 1) / count
    for index in range(count):
        ends = math.floor(index * step) + first, math.ceil((index + 1) * step) + first
        low, high = (min(max(end, 0), size) for end in ends)
        yield index, low, high


def _suppress(
    training: bool, given: Attributes, boxes: Any, scores: Any, most: Any, overlap: Any, least: Any
) -> Any:
    """(sample, class, box) of the boxes that none better one overlaps by more."""
    chosen = []
    for sample, classes in enumerate(scores):
        low, high = boxes[sample].split(2, dim=1)
        area = (high - low).clamp(min=0).prod(dim=1)
        for number, row in enumerate(classes):
            order = row.sort(descending=True, stable=True).indices
            order, kept = order[row[order] > least], 0
            while len(order) and kept < most[0]:
                best, order, kept = order[0], order[1:], kept + 1
                chosen.append((sample, number, int(best)))
                both = torch.minimum(high[best], high[order]) - torch.maximum(low[best], low[order])
                shared = both.clamp(min=0).prod(dim=1)
                order = order[shared <= overlap * (area[best] + area[order] - shared)]
    return torch.tensor(chosen, dtype=torch.int64, device=scores.device).reshape(-1, 3)


OPS: dict[str, Op] = {
    "Abs": _plain(torch.abs),
    "Add": _plain(torch.add),
    "AveragePool": _mean_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _plain(torch.clamp),
    "Compress": _plain(lambda x, chosen: x[chosen]),
    "Concat": _concat,
    "Conv": _conv,
    "ConvTranspose": _deconv,
    "Div": _plain(torch.div),
    "Dropout": _dropout,
    "Elu": _elu,
    "Exp": _plain(torch.exp),
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherND": _plain(lambda x, places: x[tuple(places.T)]),
    "Gemm": _gemm,
    "GlobalAveragePool": _global("mean"),
    "GlobalMaxPool": _global("amax"),
    "Greater": _plain(torch.gt),
    "GreaterOrEqual": _plain(torch.ge),
    "Identity": _plain(lambda x: x),
    "LRN": _lrn,
    "LeakyRelu": _leaky,
    "Log": _plain(torch.log),
    "Max": _plain(torch.maximum),
    "MaxPool": _max_pool,
    "MaxRoiPool": _max_roi_pool,
    "Min": _plain(torch.minimum),
    "Mul": _plain(torch.mul),
    "NonMaxSuppression": _suppress,
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": _plain(torch.pow),
    "ReduceMean": _reduce_mean,
    "ReduceSum": _reduce_sum,
    "Relu": _plain(torch.relu),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": _plain(torch.sigmoid),
    "Slice": _slice,
    "Softmax": _softmax,
    "Softplus": _plain(F.softplus),
    "Split": _split,
    "Sqrt": _plain(torch.sqrt),
    "Sub": _plain(torch.sub),
    "Tanh": _plain(torch.tanh),
    "Tile": _tile,
    "TopK": _top_k,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _plain(torch.where),
}
