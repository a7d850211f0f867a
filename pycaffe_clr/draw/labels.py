"""What is written in and at a net's boxes, by pycaffe's caffe.draw: labels stand in quotes of
graphviz's. Source: BVLC's python/caffe/draw.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycaffe_clr import proto

if TYPE_CHECKING:
    from pycaffe_clr.proto import LayerParameter

LEARNING = ("Convolution", "Deconvolution", "InnerProduct")
NO_LABEL = '""'


def get_pooling_types_dict() -> dict[int, str]:
    """Names of the pooling methods by their numbers."""
    pooling = proto.LayerParameter().pooling_param
    values = pooling.DESCRIPTOR.enum_types_by_name["PoolMethod"].values
    return {value.number: value.name for value in values}


def get_edge_label(layer: LayerParameter) -> str:
    """What is written at a layer's outputs: batch size or number of channels, or '""'."""
    if layer.type == "Data":
        return f"Batch {layer.data_param.batch_size}"
    if layer.type in ("Convolution", "Deconvolution"):
        return str(layer.convolution_param.num_output)
    if layer.type == "InnerProduct":
        return str(layer.inner_product_param.num_output)
    return NO_LABEL


def get_layer_lr_mult(layer: LayerParameter) -> tuple[float, float]:
    """Learning rate multipliers of weights and biases of a Convolution, Deconvolution or
    InnerProduct layer; raises ValueError for others."""
    if layer.type not in LEARNING:
        raise ValueError(f"{layer.type} layers do not have a learning rate multiplier")
    if len(layer.param) > 2:
        raise ValueError("Could not parse the learning rate multiplier")
    first, second = [*(each.lr_mult for each in layer.param), 1.0, 1.0][:2]
    return first, second


def get_layer_label(layer: LayerParameter, rankdir: str, display_lrm: bool = False) -> str:
    """The text of a layer's box, in quotes; its lines are one where the net leads up or down."""
    separator = " " if rankdir in ("TB", "BT") else r"\n"
    kind = layer.type
    if kind == "Pooling":
        kind += f" {get_pooling_types_dict()[layer.pooling_param.pool]}"
    lines = [layer.name, f"({kind})"]
    if layer.type == "Pooling":
        pooling = layer.pooling_param
        lines += _window(pooling.kernel_size, pooling.stride, pooling.pad)
    elif layer.type in ("Convolution", "Deconvolution"):
        param = layer.convolution_param
        lines += _window(*((*param.kernel_size, 1)[0], (*param.stride, 1)[0], (*param.pad, 0)[0]))
    if display_lrm and layer.type in LEARNING and any(get_layer_lr_mult(layer)):
        lines.append("lr mult: {:.1f}, {:.1f}".format(*get_layer_lr_mult(layer)))
    return f'"{separator.join(lines)}"'


def _window(kernel: int, stride: int, pad: int) -> list[str]:
    return [f"kernel size: {kernel}", f"stride: {stride}", f"pad: {pad}"]
