"""A net as a graph of ONNX's operators (opset 13), with the weights and the shapes it has now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pycaffe_clr.proto import LayerParameter

Shape = tuple[int, ...]


@dataclass
class Node:
    """One operator. inputs: names of tensors, "" for one that is left out."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    layer: str


@dataclass
class Graph:
    """Nodes in the order in which they run.

    inputs, outputs: shapes by name. constants: float32 or int64 by name; parameters: those of them
    that are weights of the net, as layer and number.
    """

    name: str
    inputs: dict[str, Shape] = field(default_factory=dict)
    outputs: dict[str, Shape] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    parameters: dict[str, tuple[str, int]] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)


@dataclass
class Layer:
    """A layer to be put into a graph: what it computes from, and its helpers to do so.

    bottoms, in_shapes, out_shapes: names of tensors and shapes; blobs: its weights.
    """

    graph: Graph
    param: LayerParameter
    bottoms: list[str]
    in_shapes: list[Shape]
    out_shapes: list[Shape]
    blobs: list[np.ndarray]

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator with one output, and return that."""
        return self.nodes(op, inputs, 1, **attributes)[0]

    def nodes(self, op: str, inputs: Sequence[str], count: int, **attributes: Any) -> list[str]:
        """Add an operator with so many outputs, and return them."""
        first = sum(len(node.outputs) for node in self.graph.nodes)
        outputs = [f"{self.param.name}/{op}_{first + i}" for i in range(count)]
        self.graph.nodes.append(Node(op, list(inputs), outputs, attributes, self.param.name))
        return outputs

    def floats(self, values: Any) -> str:
        """Add a float32 constant."""
        return self._constant(np.asarray(values, np.float32))

    def integers(self, values: Any) -> str:
        """Add an int64 constant."""
        return self._constant(np.asarray(values, np.int64))

    def _constant(self, values: np.ndarray) -> str:
        name = f"{self.param.name}/constant_{len(self.graph.constants)}"
        self.graph.constants[name] = values
        return name

    def weight(self, index: int) -> str:
        """The tensor of a weight, in the shape that it has in the net."""
        name = f"{self.param.name}/{index}"
        self.graph.constants[name] = self.blobs[index]
        self.graph.parameters[name] = (self.param.name, index)
        return name

    def axis(self, axis: int, number: int = 0) -> int:
        """An axis of a bottom, counted from 0."""
        return axis + len(self.in_shapes[number]) if axis < 0 else axis

    def reshaped(self, tensor: str, before: Shape, after: Shape) -> str:
        """Another shape. The axes in front that stay may have any size later."""
        same = 0
        while same < min(len(before), len(after)) and before[same] == after[same]:
            same += 1
        dims = [0] * same + list(after[same:])
        if before == after:
            return tensor
        if same < len(after):
            # One of the others follows, so that no batch size is written down where it is merged.
            dims[same] = -1 if 0 not in after else after[same]
        return self.node("Reshape", tensor, self.integers(dims))
