"""A net's graph as an ONNX model; needs the package onnx, which the extra [onnx] installs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pycaffe_clr.errors import ConfigError, DataError
from pycaffe_clr.export.boxes import BOXES
from pycaffe_clr.export.build import graph_of
from pycaffe_clr.export.graph import Graph, Shape
from pycaffe_clr.export.recurrent import RECURRENT
from pycaffe_clr.version import package_version

if TYPE_CHECKING:
    from pycaffe_clr.pycaffe.net import Net

OPSET = 13
_IR_VERSION = 7  # that of opset 13's time, which every runtime since reads
_FLOAT, _LIMIT = 1, 2**31 - 1


def onnx_model(net: Net, dynamic_batch: bool = False) -> Any:
    """An onnx.ModelProto of a net in the test phase; see build.graph_of.

    dynamic_batch: axis 0 of inputs and outputs may have any size. Raises ConfigError for layers
    that ONNX does not have, and where the package onnx is missing.
    """
    try:
        import onnx
        from onnx import helper, numpy_helper
    except ImportError as error:
        raise ConfigError("this needs the package onnx: pip install 'pycaffe_clr[onnx]'") from error
    graph = graph_of(net)
    if dynamic_batch and any(layer.type in RECURRENT for layer in net.layers):
        raise ConfigError("axis 0 of a net with LSTM or RNN layers is time, which is written down")
    if dynamic_batch and any(layer.type in BOXES for layer in net.layers):
        raise ConfigError(
            "a net with DetectionOutput or Proposal layers takes one sample at a time"
        )

    varies = any(node.op == "Compress" for node in graph.nodes)

    def info(name: str, shape: Shape) -> Any:
        dims: list[int | str] = list(shape)
        if dynamic_batch and dims:
            dims[0] = "batch"
        if varies and dims and name in graph.outputs:
            dims[2 if name in net._lists else 0] = f"rows of {name}"
        return helper.make_tensor_value_info(name, _FLOAT, dims)

    made = helper.make_graph(
        [
            helper.make_node(
                node.op, node.inputs, node.outputs, name=f"{node.layer}/{number}", **node.attributes
            )
            for number, node in enumerate(graph.nodes)
        ],
        graph.name or "net",
        [info(name, shape) for name, shape in graph.inputs.items()],
        [info(name, shape) for name, shape in graph.outputs.items()],
        [numpy_helper.from_array(values, name) for name, values in _used(graph).items()],
    )
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=_IR_VERSION,
        producer_name="pycaffe_clr",
        producer_version=package_version(),
    )
    onnx.checker.check_model(model)
    return model


def _used(graph: Graph) -> dict[str, Any]:
    read = {name for node in graph.nodes for name in node.inputs}
    return {name: values for name, values in graph.constants.items() if name in read}


def onnx_bytes(net: Net, dynamic_batch: bool = False) -> bytes:
    """The bytes of the model's file. Raises also DataError above the 2 GiB that one can have."""
    model = onnx_model(net, dynamic_batch)
    if model.ByteSize() > _LIMIT:
        raise DataError("the model is larger than the 2 GiB that an ONNX file can have")
    return bytes(model.SerializeToString())
