"""A graph as a torch.nn.Module: its nodes run one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.export.graph import Graph, Node
from pycaffe_clr.export.torch_ops import OPS


class CaffeModule(torch.nn.Module):
    """See torch_net.to_torch."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.inputs = list(graph.inputs)
        self.outputs = list(graph.outputs)
        self._nodes = graph.nodes
        self._names: dict[str, str] = {}
        # Shapes, axes and the like, which operators take as lists.
        self._lists: dict[str, Any] = {}
        read = {name for node in graph.nodes for name in node.inputs}
        for name, values in graph.constants.items():
            if name not in read:
                continue
            if values.dtype == np.int64:
                self._lists[name] = values.tolist()
                continue
            self._names[name] = name.replace(".", "_")
            tensor = torch.from_numpy(values.copy())
            if name in graph.parameters:
                self.register_parameter(self._names[name], torch.nn.Parameter(tensor))
            else:
                self.register_buffer(self._names[name], tensor)
        self._last = _last_uses(graph)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """The output, or {name: output} of several."""
        given = dict(zip(self.inputs, inputs, strict=False)) | named
        if set(given) != set(self.inputs) or len(inputs) + len(named) != len(self.inputs):
            raise ConfigError(
                f"the module takes {', '.join(self.inputs)}; "
                f"{len(inputs)} inputs came and {', '.join(named) or 'none'} by name"
            )
        values: dict[str, Any] = {"": None} | self._lists | given
        values |= {name: getattr(self, own) for name, own in self._names.items()}
        for node, unused in zip(self._nodes, self._last, strict=True):
            made = self._run(node, [values[name] for name in node.inputs])
            values.update(zip(node.outputs, made, strict=True))
            for name in unused:
                del values[name]
        found = {name: values[name] for name in self.outputs}
        return found if len(found) > 1 else found[self.outputs[0]]

    def _run(self, node: Node, inputs: list[Any]) -> Any:
        made = OPS[node.op](self.training, node.attributes, *inputs)
        return made if isinstance(made, (tuple, list)) else [made]


def _last_uses(graph: Graph) -> list[list[str]]:
    """For each node, the tensors that nothing reads after it."""
    seen = {*graph.outputs, *graph.constants, *graph.inputs, ""}
    uses: list[list[str]] = []
    for node in reversed(graph.nodes):
        names = {*node.inputs, *node.outputs}
        uses.append(sorted(names - seen))
        seen |= names
    return uses[::-1]
