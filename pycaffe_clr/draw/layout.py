"""Where the boxes of a graph lie: in ranks, as few edges crossing as two sweeps can reach."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from pycaffe_clr.draw.graph import Graph, Node

# Sizes in pixels, of text at 13 pixels.
CHARACTER, LINE, MARGIN = 7.4, 17.0, 10.0
_BETWEEN_RANKS, _BETWEEN_BOXES = 46.0, 18.0
_SWEEPS = 4


@dataclass(frozen=True)
class Box:
    """A node's rectangle, by its centre."""

    node: Node
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Arrow:
    """From one box's border to another's, with a text at its middle."""

    x0: float
    y0: float
    x1: float
    y1: float
    text: str


@dataclass(frozen=True)
class Drawing:
    """A graph whose boxes have their places, in pixels from the upper left."""

    name: str
    width: float
    height: float
    boxes: list[Box]
    arrows: list[Arrow]


def layout(graph: Graph) -> Drawing:
    """Places for a graph's nodes: ranks by the longest way from an input, along rankdir."""
    ranks = _ranks(graph)
    rows: dict[int, list[str]] = defaultdict(list)
    for key in graph.nodes:
        rows[ranks[key]].append(key)
    order = [rows[rank] for rank in sorted(rows)]
    _untangle(graph, ranks, order)
    sideways = graph.rankdir in ("LR", "RL")
    boxes = _place(graph, order, sideways)
    along = max(box.x + box.width / 2 if sideways else box.y + box.height / 2
                for box in boxes.values()) + MARGIN if boxes else 0.0  # fmt: skip
    across = max(box.y + box.height / 2 if sideways else box.x + box.width / 2
                 for box in boxes.values()) + MARGIN if boxes else 0.0  # fmt: skip
    if graph.rankdir == "RL":
        boxes = {k: Box(b.node, along - b.x, b.y, b.width, b.height) for k, b in boxes.items()}
    elif graph.rankdir == "BT":
        boxes = {k: Box(b.node, b.x, along - b.y, b.width, b.height) for k, b in boxes.items()}
    arrows = [_arrow(boxes[a], boxes[b], text, sideways) for a, b, text in graph.edges]
    width, height = (along, across) if sideways else (across, along)
    return Drawing(graph.name, width, height, list(boxes.values()), arrows)


def _ranks(graph: Graph) -> dict[str, int]:
    """Rank of each node. Edges stand in the order of the layers, so one pass does; what leads back
    to a blob that is there already (an in-place layer) does not move it."""
    ranks: dict[str, int] = {}
    for start, end, _ in graph.edges:
        ranks.setdefault(start, 0)
        if end not in ranks or (end.startswith("layer") and ranks[end] <= ranks[start]):
            ranks[end] = ranks[start] + 1
    return {key: ranks.get(key, 0) for key in graph.nodes}


def _untangle(graph: Graph, ranks: dict[str, int], order: list[list[str]]) -> None:
    """Sort each rank by where its neighbours in the ranks before, then after it, stand."""
    before, after = defaultdict(list), defaultdict(list)
    for start, end, _ in graph.edges:
        low, high = sorted((start, end), key=lambda key: ranks[key])
        before[high].append(low)
        after[low].append(high)
    place = {key: float(index) for row in order for index, key in enumerate(row)}
    for sweep in range(_SWEEPS):
        forth = sweep % 2 == 0
        near = before if forth else after
        for row in order if forth else reversed(order):
            middle = {
                key: sum(place[other] for other in near[key]) / len(near[key])
                if near[key]
                else place[key]
                for key in row
            }
            row.sort(key=lambda key, middle=middle: middle[key])  # type: ignore[misc]
            place.update({key: float(index) for index, key in enumerate(row)})


def _size(node: Node) -> tuple[float, float]:
    longest = max(map(len, node.lines))
    corner = 2 * MARGIN if node.is_blob else MARGIN
    return longest * CHARACTER + 2 * corner, len(node.lines) * LINE + MARGIN


def _place(graph: Graph, order: list[list[str]], sideways: bool) -> dict[str, Box]:
    """Boxes rank after rank, each rank centred."""
    sizes = {key: _size(node) for key, node in graph.nodes.items()}
    deep, wide = (0, 1) if sideways else (1, 0)
    lengths = [
        sum(sizes[key][wide] for key in row) + _BETWEEN_BOXES * (len(row) - 1) for row in order
    ]
    boxes = {}
    along = MARGIN
    for row, length in zip(order, lengths, strict=True):
        depth = max(sizes[key][deep] for key in row)
        across = MARGIN + (max(lengths) - length) / 2
        for key in row:
            size = sizes[key]
            centre = along + depth / 2, across + size[wide] / 2
            x, y = centre if sideways else centre[::-1]
            boxes[key] = Box(graph.nodes[key], x, y, *size)
            across += size[wide] + _BETWEEN_BOXES
        along += depth + _BETWEEN_RANKS
    return {key: boxes[key] for key in graph.nodes}


def _arrow(start: Box, end: Box, text: str, sideways: bool) -> Arrow:
    """Between the sides that face each other along the ranks, a little apart for the way back."""
    if sideways:
        forth = 1 if end.x >= start.x else -1
        shift = 0 if forth > 0 else 6
        return Arrow(start.x + forth * start.width / 2, start.y + shift,
                     end.x - forth * end.width / 2, end.y + shift, text)  # fmt: skip
    forth = 1 if end.y >= start.y else -1
    shift = 0 if forth > 0 else 6
    return Arrow(start.x + shift, start.y + forth * start.height / 2,
                 end.x + shift, end.y - forth * end.height / 2, text)  # fmt: skip
