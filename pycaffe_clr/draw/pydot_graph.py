"""The graph that pycaffe's caffe.draw makes of a net with the package pydot. Source: BVLC's
python/caffe/draw.py."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pycaffe_clr.draw.graph import layers_of
from pycaffe_clr.draw.labels import NO_LABEL, get_edge_label, get_layer_label
from pycaffe_clr.draw.styles import (
    BLOB_STYLE,
    LAYER_STYLE_DEFAULT,
    NEURON_LAYER_STYLE,
    choose_color_by_layertype,
)
from pycaffe_clr.errors import ConfigError

if TYPE_CHECKING:
    from pycaffe_clr.proto import NetParameter


def get_pydot_graph(
    caffe_net: NetParameter,
    rankdir: str,
    label_edges: bool = True,
    phase: int | None = None,
    display_lrm: bool = False,
) -> Any:
    """The net as a graph of the package pydotplus or pydot. Raises ConfigError where neither is
    installed."""
    pydot = _pydot()
    graph = pydot.Dot(caffe_net.name or "Net", graph_type="digraph", rankdir=rankdir)
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str, str]] = []
    for layer in layers_of(caffe_net, phase):
        key = f"{layer.name}_{layer.type}"
        label = get_layer_label(layer, rankdir, display_lrm)
        color = choose_color_by_layertype(layer.type)
        in_place = len(layer.bottom) == 1 and list(layer.bottom) == list(layer.top)
        style = NEURON_LAYER_STYLE if in_place else {**LAYER_STYLE_DEFAULT, "fillcolor": color}
        nodes[key] = pydot.Node(label, **style)
        for bottom in layer.bottom:
            nodes[f"{bottom}_blob"] = pydot.Node(bottom, **BLOB_STYLE)
            edges.append((f"{bottom}_blob", key, NO_LABEL))
        for top in layer.top:
            nodes[f"{top}_blob"] = pydot.Node(top)
            edges.append((key, f"{top}_blob", get_edge_label(layer) if label_edges else NO_LABEL))
    for node in nodes.values():
        graph.add_node(node)
    for start, end, text in edges:
        graph.add_edge(pydot.Edge(nodes[start], nodes[end], label=text))
    return graph


def _pydot() -> Any:
    for name in ("pydotplus", "pydot"):
        try:
            return import_module(name)
        except ImportError:
            continue
    raise ConfigError("get_pydot_graph needs pydot: pip install pydot")
