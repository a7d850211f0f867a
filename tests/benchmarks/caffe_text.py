"""Layers as prototxt text, for the nets that are written by hand."""

from __future__ import annotations


def layer(type_: str, name: str, bottoms: list[str], top: str, body: str = "") -> str:
    """One layer as prototxt text."""
    ends = "".join(f' bottom: "{b}"' for b in bottoms)
    return f'layer {{ name: "{name}" type: "{type_}"{ends} top: "{top}" {body} }}\n'


def convolution(
    name: str, bottom: str, outputs: int, kernel: int, stride: int = 1, pad: int = 0, group: int = 1
) -> str:
    body = (
        f"convolution_param {{ num_output: {outputs} kernel_size: {kernel} stride: {stride} "
        f"pad: {pad} group: {group} "
        'weight_filler { type: "msra" } bias_filler { type: "constant" } }'
    )
    return layer("Convolution", name, [bottom], name, body)


def conv_bn(name: str, bottom: str, outputs: int, kernel: int, stride: int, pad: int) -> str:
    """Convolution, BatchNorm and Scale in place, as the author's generator writes them."""
    return (
        convolution(name, bottom, outputs, kernel, stride, pad)
        + layer("BatchNorm", f"{name}_bn", [name], name)
        + layer("Scale", f"{name}_scale", [name], name, "scale_param { bias_term: true }")
    )


def relu(blob: str) -> str:
    return layer("ReLU", f"{blob}_relu", [blob], blob)


def inner_product(name: str, bottom: str, outputs: int, more: str = "") -> str:
    """more: settings beside the number of outputs."""
    body = (
        f"inner_product_param {{ num_output: {outputs} {more} "
        'weight_filler { type: "xavier" } bias_filler { type: "constant" } }'
    )
    return layer("InnerProduct", name, [bottom], name, body)


def dummy(tops: list[tuple[str, tuple[int, ...], str]]) -> str:
    """A DummyData layer. tops: the name, the shape and the filler of each."""
    names = " ".join(f'top: "{name}"' for name, _, _ in tops)
    shapes = " ".join(
        "shape { " + " ".join(f"dim: {n}" for n in shape) + " }" for _, shape, _ in tops
    )
    fillers = " ".join(f"data_filler {{ {filler} }}" for _, _, filler in tops)
    return (
        f'layer {{ name: "data" type: "DummyData" {names} '
        f"dummy_data_param {{ {shapes} {fillers} }} }}\n"
    )
