"""From a net that was built to its graph."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.export.boxes import BOXES
from pycaffe_clr.export.elementwise import ELEMENTWISE
from pycaffe_clr.export.graph import Graph, Layer, Shape
from pycaffe_clr.export.linear import LINEAR
from pycaffe_clr.export.normalize import NORMALIZE
from pycaffe_clr.export.recurrent import RECURRENT
from pycaffe_clr.export.shapes import SHAPES

if TYPE_CHECKING:
    from pycaffe_clr.proto import LayerParameter
    from pycaffe_clr.pycaffe.net import Net

_log = logging.getLogger(__name__)

LAYERS = LINEAR | ELEMENTWISE | NORMALIZE | SHAPES | RECURRENT | BOXES
# Layers that make blobs from what is not in the net: their tops are the graph's inputs.
_SOURCES = {
    "AnnotatedData", "Data", "DummyData", "HDF5Data", "ImageData", "Input", "MemoryData",
    "WindowData",
}  # fmt: skip
# Layers whose result is for training and tests; what they read is an output then.
_ENDS = {
    "Accuracy", "ContrastiveLoss", "DetectionEvaluate", "EuclideanLoss", "HDF5Output", "HingeLoss",
    "InfogainLoss", "MultiBoxLoss", "MultinomialLogisticLoss", "SigmoidCrossEntropyLoss",
    "Silence", "SmoothL1Loss", "SoftmaxWithLoss",
}  # fmt: skip


def types() -> list[str]:
    """Types of layers that can be exported, those that are left out not counted."""
    return sorted({*LAYERS, *_SOURCES})


def graph_of(net: Net) -> Graph:
    """The graph of a net in the test phase, with the weights and shapes that it has now.

    Data layers become inputs; losses, accuracies and the labels that they alone read are left out.
    Raises ConfigError for a layer that has no counterpart.
    """
    graph = Graph(net.name)
    rows = [_Row(net, index, param) for index, param in enumerate(_params(net))]
    writers = Counter(top for row in rows if row.kept for top in set(row.tops))
    written: Counter[str] = Counter()
    if any(layer.type == "PriorBox" for layer in net.layers):
        net.forward()  # their boxes follow from the shapes
    now: dict[str, str] = {}  # blob -> the tensor that it is at this point
    names: dict[str, str] = {}  # tensor -> its name in the end
    for row in rows:
        if row.param is None:  # a copy that the net makes for another reader
            now |= dict.fromkeys(row.tops, now[row.bottoms[0]])
        if row.param is None or not row.kept:
            continue
        layer = row.layer(graph, row.param, [now[blob] for blob in row.bottoms])
        for top, tensor in zip(row.tops, _make(layer, net, row.tops), strict=True):
            if tensor in names or tensor in graph.constants:
                tensor = layer.node("Identity", tensor)
            written[top] += 1
            last = written[top] == writers[top]
            names[tensor] = top if last else f"{top}/before_{written[top]}"
            now[top] = tensor
    _rename(graph, names)
    read = {name for node in graph.nodes for name in node.inputs}
    made = [name for node in graph.nodes for name in node.outputs if name in net.blobs]
    graph.outputs = {name: _shape(net, name) for name in made if name not in read}
    graph.inputs = {name: shape for name, shape in graph.inputs.items() if name in read}
    if not graph.outputs:
        raise ConfigError(f"net '{net.name}': nothing is left of it without its losses")
    return graph


def _params(net: Net) -> Iterator[LayerParameter | None]:
    """The message of each of the net's layers; None for the copies that it adds itself."""
    waiting = iter(net._param.layer)
    param = next(waiting, None)
    for row in net._rows:
        if param is not None and (row["name"], row["type"]) == (param.name, param.type):
            yield param
            param = next(waiting, None)
        else:
            yield None


class _Row:
    """A layer of a net: its message, its blobs, and whether it is exported."""

    def __init__(self, net: Net, index: int, param: LayerParameter | None) -> None:
        row = net._rows[index]
        self.param = param
        self.bottoms, self.tops = list(row["bottoms"]), list(row["tops"])
        self.kept = row["type"] not in _ENDS
        if not self.kept:
            _log.info("left out: layer '%s' (%s)", row["name"], row["type"])
        self._net, self._index = net, index

    def layer(self, graph: Graph, param: LayerParameter, bottoms: list[str]) -> Layer:
        net = self._net
        return Layer(
            graph,
            param,
            bottoms,
            [_shape(net, blob) for blob in self.bottoms],
            [_shape(net, blob) for blob in self.tops],
            [np.array(blob.data, np.float32) for blob in net.layers[self._index].blobs],
        )


def _shape(net: Net, blob: str) -> Shape:
    return tuple(net.blobs[blob].shape)


def _make(layer: Layer, net: Net, tops: list[str]) -> list[str]:
    kind = layer.param.type
    title = f"layer '{layer.param.name}' ({kind})"
    if kind in _SOURCES:
        for top, shape in zip(tops, layer.out_shapes, strict=True):
            layer.graph.inputs[f"{layer.param.name}/{top}"] = shape
        return [f"{layer.param.name}/{top}" for top in tops]
    if kind == "PriorBox":
        return [layer.floats(net.blobs[top].data) for top in tops]
    if kind not in LAYERS:
        raise ConfigError(f"{title}: ONNX has no counterpart; known: {', '.join(types())}")
    try:
        return LAYERS[kind](layer)
    except ConfigError as error:
        raise ConfigError(f"{title}: {error}") from error


def _rename(graph: Graph, names: dict[str, str]) -> None:
    """Give tensors the names of their blobs, and inputs theirs."""
    for name in list(graph.inputs):
        graph.inputs[names[name]] = graph.inputs.pop(name)
    for node in graph.nodes:
        node.inputs = [names.get(name, name) for name in node.inputs]
        node.outputs = [names.get(name, name) for name in node.outputs]
