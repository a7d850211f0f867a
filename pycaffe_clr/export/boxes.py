"""SSD's detections and Faster R-CNN's proposals: boxes that are decoded, suppressed and sorted by
ONNX's operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.export.graph import Layer

_LOWEST = float(np.finfo(np.float32).min)


def _detection_output(layer: Layer) -> list[str]:
    """(1, 1, K, 7): sample, class, confidence, box; where there is none, one row of -1."""
    fork: Any = layer.param
    param = fork.detection_output_param
    nms = param.nms_param
    if layer.in_shapes[1][0] != 1 or not param.share_location or nms.eta != 1:
        raise ConfigError("only boxes of one sample, shared by its classes, without eta, "
                          "can be exported")  # fmt: skip
    if param.keep_top_k == 0:
        raise ConfigError("keep_top_k: 0 leaves nothing to export")
    count, most = layer.in_shapes[2][2] // 4, param.keep_top_k
    boxes = _decoded(layer, param)
    scores = layer.node("Reshape", layer.bottoms[1], layer.integers([-1, param.num_classes]))
    scores = layer.node("Transpose", scores, perm=[1, 0])
    labels = [c for c in range(param.num_classes) if c != param.background_label_id]
    scores = layer.node("Gather", scores, layer.integers(labels), axis=0)
    if nms.HasField("top_k") and 0 < nms.top_k < count:
        last = _nth(layer, scores, nms.top_k, 1)
        scores = _where_at_least(layer, scores, last)
    least = param.confidence_threshold if param.HasField("confidence_threshold") else _LOWEST
    scores = layer.node("Unsqueeze", scores, layer.integers([0]))
    chosen = layer.node(
        "NonMaxSuppression", layer.node("Unsqueeze", boxes, layer.integers([0])), scores,
        layer.integers([count]), layer.floats([nms.nms_threshold]), layer.floats([least]),
    )  # fmt: skip
    # As the operator gives them: by class, of each the best first.
    _, kind, place = (
        layer.node("Reshape", part, layer.integers([-1]))
        for part in layer.nodes("Split", [chosen, layer.integers([1, 1, 1])], 3, axis=1)
    )
    score = layer.node("GatherND", scores, chosen)
    columns = [
        layer.node("Sub", score, score),
        layer.node("Gather", layer.floats(labels), kind, axis=0),
        score,
    ]
    parts = [layer.node("Unsqueeze", each, layer.integers([1])) for each in columns]
    found = layer.node("Concat", *parts, layer.node("Gather", boxes, place, axis=0), axis=1)
    last = layer.floats([-np.inf])
    if most > 0:  # the best of all, in the order that they have
        none = layer.floats(np.full(most, -np.inf))
        last = _nth(layer, layer.node("Concat", score, none, axis=0), most, 0)
    kept = _or_else(layer, found, score, last, [0, *[-1] * 6])
    if most > 0:  # of equal ones
        limits = [layer.integers([each]) for each in (0, most, 0)]
        kept = layer.node("Slice", kept, *limits)
    return [layer.node("Reshape", kept, layer.integers([1, 1, -1, 7]))]


def _or_else(layer: Layer, rows: str, score: str, least: str, other: list[float]) -> str:
    """The rows (n, k) whose score (n,) is `least` or more; where n is 0, one other row."""
    best = _nth(layer, layer.node("Concat", score, layer.floats([-np.inf]), axis=0), 1, 0)
    kept = layer.node(
        "Concat",
        layer.node("GreaterOrEqual", score, least),
        layer.node("Greater", layer.floats([_LOWEST]), best),
        axis=0,
    )
    return layer.node(
        "Compress", layer.node("Concat", rows, layer.floats([other]), axis=0), kept, axis=0
    )


def _nth(layer: Layer, values: str, number: int, axis: int) -> str:
    """The smallest of the `number` largest along an axis, which stays with a size of 1."""
    best, _ = layer.nodes("TopK", [values, layer.integers([number])], 2, axis=axis)
    limits = [layer.integers([each]) for each in (number - 1, number, axis)]
    return layer.node("Slice", best, *limits)


def _where_at_least(layer: Layer, values: str, least: str) -> str:
    enough = layer.node("GreaterOrEqual", values, least)
    return layer.node("Where", enough, values, layer.floats(-np.inf))


def _decoded(layer: Layer, param: Any) -> str:
    """Boxes (P, 4), of shifts, priors and their variances."""
    shifts = layer.node("Reshape", layer.bottoms[0], layer.integers([-1, 4]))
    both = layer.node("Reshape", layer.bottoms[2], layer.integers([2, -1, 4]))
    priors, variances = (
        layer.node("Reshape", part, layer.integers([-1, 4]))
        for part in layer.nodes("Split", [both, layer.integers([1, 1])], 2, axis=0)
    )
    if not param.variance_encoded_in_target:
        shifts = layer.node("Mul", shifts, variances)
    low, high = layer.nodes("Split", [priors, layer.integers([2, 2])], 2, axis=1)
    size = layer.node("Sub", high, low)
    kinds = {1: "corner", 2: "center", 3: "corner by size"}
    kind = kinds[param.code_type]
    if kind == "corner by size":
        shifts = layer.node("Mul", shifts, layer.node("Concat", size, size, axis=1))
    if kind != "center":
        return layer.node("Add", priors, shifts)
    middle = layer.node("Mul", layer.node("Add", low, high), layer.floats(0.5))
    return layer.node("Concat", *_moved(layer, shifts, middle, size), axis=1)


def _moved(layer: Layer, shifts: str, middle: str, size: str) -> tuple[str, str]:
    """Corners (P, 2) of boxes that are moved, and stretched, by shares of their size."""
    move, stretch = layer.nodes("Split", [shifts, layer.integers([2, 2])], 2, axis=1)
    middle = layer.node("Add", layer.node("Mul", move, size), middle)
    reach = layer.node("Mul", layer.node("Exp", stretch), size)
    reach = layer.node("Mul", reach, layer.floats(0.5))
    return layer.node("Sub", middle, reach), layer.node("Add", middle, reach)


def _proposal(layer: Layer) -> list[str]:
    """(R, 5) [, (R, 1)]: 0 and boxes, confidences, the best first; where there is none, zeros."""
    fork: Any = layer.param
    param = fork.proposal_param
    _, channels, height, width = layer.in_shapes[0]
    anchors, places = channels // 2, height * width
    middle, size = _anchors(param, height, width)
    one, flat, column = layer.floats(1), layer.integers([-1]), layer.integers([1])

    limits = [layer.integers([each]) for each in (anchors, channels, 1)]
    scores = layer.node("Slice", layer.bottoms[0], *limits)
    scores = layer.node("Reshape", scores, layer.integers([anchors, places]))
    scores = layer.node("Reshape", layer.node("Transpose", scores, perm=[1, 0]), flat)
    shifts = layer.node("Reshape", layer.bottoms[1], layer.integers([anchors, 4, places]))
    shifts = layer.node("Transpose", shifts, perm=[2, 0, 1])
    shifts = layer.node("Reshape", shifts, layer.integers([-1, 4]))
    image = layer.node("Reshape", layer.bottoms[2], flat)
    end = layer.node("Sub", layer.node("Gather", image, layer.integers([1, 0]), axis=0), one)
    low, high = (
        layer.node("Max", layer.node("Min", each, end), layer.floats(0))
        for each in _moved(layer, shifts, layer.floats(middle), layer.floats(size))
    )
    # Ends belong to boxes.
    beyond = layer.node("Add", high, one)
    sides = layer.nodes(
        "Split", [layer.node("Sub", beyond, low), layer.integers([1, 1])], 2, axis=1
    )
    shorter = layer.node("Reshape", layer.node("Min", *sides), flat)
    scale = layer.node("Gather", image, layer.integers([2]), axis=0)
    least = layer.node("Mul", scale, layer.floats(param.min_size))
    enough = layer.node("GreaterOrEqual", shorter, least)
    scores = layer.node("Where", enough, scores, layer.floats(-np.inf))
    if param.pre_nms_topn < anchors * places:
        last = _nth(layer, scores, param.pre_nms_topn, 0)
        scores = _where_at_least(layer, scores, last)
    chosen = layer.node(
        "NonMaxSuppression",
        layer.node("Unsqueeze", layer.node("Concat", low, beyond, axis=1), layer.integers([0])),
        layer.node("Reshape", scores, layer.integers([1, 1, -1])),
        layer.integers([param.post_nms_topn]), layer.floats([param.nms_thresh]),
        layer.floats([_LOWEST]),
    )  # fmt: skip
    place = layer.nodes("Split", [chosen, layer.integers([1, 1, 1])], 3, axis=1)[2]
    place = layer.node("Reshape", place, flat)
    score = layer.node("Gather", scores, place, axis=0)
    beside = layer.node("Unsqueeze", score, column)
    boxes = layer.node("Gather", layer.node("Concat", low, high, axis=1), place, axis=0)
    found = layer.node("Concat", layer.node("Sub", beside, beside), boxes, axis=1)
    all_of_them = layer.floats([-np.inf])
    return [
        _or_else(layer, rows, score, all_of_them, [0] * wide)
        for rows, wide in ((found, 5), (beside, 1))
    ][: len(layer.out_shapes)]


def _anchors(param: Any, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres and sizes (H W A, 2) of the boxes, x first (generate_anchors.py)."""
    sizes = []
    for ratio in list(param.ratio) or [0.5, 1, 2]:
        wide = np.rint(np.sqrt(param.base_size**2 / ratio))
        high = np.rint(wide * ratio)
        sizes += [(wide * scale, high * scale) for scale in list(param.scale) or [8, 16, 32]]
    y, x = np.divmod(np.arange(height * width), width) * np.array(param.feat_stride)
    # Half a pixel further than the anchors' middle, since both ends belong to them.
    middle = np.stack([x, y], axis=1)[:, None] + param.base_size / 2
    shape = (height * width, len(sizes), 2)
    middle, wide = (np.broadcast_to(each, shape).reshape(-1, 2) for each in (middle, [sizes]))
    return middle, wide


BOXES: dict[str, Callable[[Layer], list[str]]] = {
    "DetectionOutput": _detection_output,
    "Proposal": _proposal,
}
