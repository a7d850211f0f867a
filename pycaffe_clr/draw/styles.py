"""Shapes and colours of a net's boxes, by pycaffe's names. What a program changes in them counts in
the pictures that follow."""

from __future__ import annotations

LAYER_STYLE_DEFAULT = {"shape": "record", "fillcolor": "#6495ED", "style": "filled"}
NEURON_LAYER_STYLE = {"shape": "record", "fillcolor": "#90EE90", "style": "filled"}  # in place
BLOB_STYLE = {"shape": "octagon", "fillcolor": "#E0E0E0", "style": "filled"}
_COLORS = {
    "Convolution": "#FF5050",
    "Deconvolution": "#FF5050",
    "Pooling": "#FF9900",
    "InnerProduct": "#CC33FF",
}


def choose_color_by_layertype(layertype: str) -> str:
    """The colour of a layer's box."""
    return _COLORS.get(layertype, "#6495ED")
