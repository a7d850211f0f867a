"""LSTM and RNN, step by step: neither has a counterpart that begins anew where `cont` says so.

Inputs are (T, N, ...) and cont (T, N): 0 at the beginning of a sequence. What Caffe carries over
from batch to batch is left out: the first step begins from zeros, or from the states given under
expose_hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.export.graph import Layer


class _Steps:
    """A recurrent layer's inputs by step, and its weights."""

    def __init__(self, layer: Layer, width: int, states: int) -> None:
        self.layer = layer
        param = layer.param.recurrent_param
        count = len(layer.bottoms) - (states if param.expose_hidden else 0)
        if not 2 <= count <= 3:
            raise ConfigError(f"{len(layer.bottoms)} bottoms are not those of a recurrent layer")
        self.steps = layer.in_shapes[0][0]
        self.static = count == 3
        # In Caffe's order: of the input with a bias, of the static input, then the layer's own.
        self.first_own = 3 if self.static else 2
        moved = layer.node("Flatten", layer.bottoms[0], axis=2)
        moved = layer.node("Gemm", moved, layer.weight(0), layer.weight(1), transB=1)
        self.inputs = self._apart(moved, [self.steps, -1, width], [-1, width])
        if self.static:
            fixed = layer.node("Flatten", layer.bottoms[2], axis=1)
            fixed = layer.node("Gemm", fixed, layer.weight(2), transB=1)
            self.inputs = [layer.node("Add", each, fixed) for each in self.inputs]
        self.conts = self._apart(layer.bottoms[1], None, [-1, 1])
        self.states: list[str | None] = [
            layer.node("Flatten", bottom, axis=2) for bottom in layer.bottoms[count:]
        ] or [None] * states

    def _apart(self, tensor: str, whole: list[int] | None, each: list[int]) -> list[str]:
        """A tensor's steps, each in a shape of its own."""
        layer = self.layer
        if whole is not None:
            tensor = layer.node("Reshape", tensor, layer.integers(whole))
        parts = [tensor]
        if self.steps > 1:
            sizes = layer.integers([1] * self.steps)
            parts = layer.nodes("Split", [tensor, sizes], self.steps, axis=0)
        dims = layer.integers(each)
        return [layer.node("Reshape", part, dims) for part in parts]

    def continued(self, state: str, step: int) -> str:
        """A state, zero where a sequence begins."""
        return self.layer.node("Mul", state, self.conts[step])

    def together(self, parts: list[str], size: int) -> str:
        """Outputs of the steps as (T, N, size)."""
        layer, dims = self.layer, self.layer.integers([1, -1, size])
        parts = [layer.node("Reshape", part, dims) for part in parts]
        return layer.node("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]


def _lstm(layer: Layer) -> list[str]:
    size = layer.param.recurrent_param.num_output
    steps = _Steps(layer, 4 * size, 2)
    own, quarters = layer.weight(steps.first_own), layer.integers([size] * 4)
    hidden, cell = steps.states
    outputs = []
    for step, gates in enumerate(steps.inputs):
        if hidden is not None:
            before = steps.continued(hidden, step)
            gates = layer.node("Add", gates, layer.node("Gemm", before, own, transB=1))
        parts = layer.nodes("Split", [gates, quarters], 4, axis=1)
        cell, hidden = _cell(layer, parts, cell and steps.continued(cell, step))
        outputs.append(hidden)
    tops = [steps.together(outputs, size)]
    if layer.param.recurrent_param.expose_hidden and hidden is not None and cell is not None:
        tops += [steps.together([hidden], size), steps.together([cell], size)]
    return tops


def _cell(layer: Layer, gates: Sequence[str], before: str | None) -> tuple[str, str]:
    """An LSTM's cell and output after a step, from the inputs of its gates."""
    enter, forget, leave, new = gates
    cell = layer.node("Mul", layer.node("Sigmoid", enter), layer.node("Tanh", new))
    if before is not None:
        kept = layer.node("Mul", layer.node("Sigmoid", forget), before)
        cell = layer.node("Add", kept, cell)
    return cell, layer.node("Mul", layer.node("Sigmoid", leave), layer.node("Tanh", cell))


def _lstm_unit(layer: Layer) -> list[str]:
    """One step, on (1, N, ...)."""
    before, gates, cont = layer.bottoms
    size = layer.in_shapes[0][2]
    parts = layer.nodes("Split", [gates, layer.integers([size] * 4)], 4, axis=2)
    going = layer.node("Reshape", cont, layer.integers([1, -1, 1]))
    cell, hidden = _cell(layer, parts, layer.node("Mul", before, going))
    return [layer.node("Identity", cell), hidden]


def _rnn(layer: Layer) -> list[str]:
    size = layer.param.recurrent_param.num_output
    steps = _Steps(layer, size, 1)
    own, out, bias = (layer.weight(steps.first_own + i) for i in range(3))
    (hidden,) = steps.states
    outputs = []
    for step, total in enumerate(steps.inputs):
        if hidden is not None:
            before = steps.continued(hidden, step)
            total = layer.node("Add", total, layer.node("Gemm", before, own, transB=1))
        hidden = layer.node("Tanh", total)
        outputs.append(layer.node("Tanh", layer.node("Gemm", hidden, out, bias, transB=1)))
    tops = [steps.together(outputs, size)]
    if layer.param.recurrent_param.expose_hidden and hidden is not None:
        tops.append(steps.together([hidden], size))
    return tops


RECURRENT: dict[str, Callable[[Layer], list[str]]] = {
    "LSTM": _lstm,
    "LSTMUnit": _lstm_unit,
    "RNN": _rnn,
}
