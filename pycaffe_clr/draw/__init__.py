"""pycaffe's caffe.draw: pictures of nets, layers as boxes and blobs as octagons.

Drawn by graphviz where its program `dot` is found; else by this package itself, as SVG, or in the
other formats of matplotlib (png, pdf, ...).
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from pycaffe_clr.atomic import write_atomically
from pycaffe_clr.draw.graph import Graph, dot_text, graph_of
from pycaffe_clr.draw.labels import (
    get_edge_label,
    get_layer_label,
    get_layer_lr_mult,
    get_pooling_types_dict,
)
from pycaffe_clr.draw.layout import layout
from pycaffe_clr.draw.pydot_graph import get_pydot_graph
from pycaffe_clr.draw.styles import (
    BLOB_STYLE,
    LAYER_STYLE_DEFAULT,
    NEURON_LAYER_STYLE,
    choose_color_by_layertype,
)
from pycaffe_clr.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pycaffe_clr.proto import NetParameter

__all__ = [
    "BLOB_STYLE",
    "LAYER_STYLE_DEFAULT",
    "NEURON_LAYER_STYLE",
    "Graph",
    "choose_color_by_layertype",
    "dot_text",
    "draw_net",
    "draw_net_to_file",
    "get_edge_label",
    "get_layer_label",
    "get_layer_lr_mult",
    "get_pooling_types_dict",
    "get_pydot_graph",
    "graph_of",
]

_TEXT = ("raw", "dot", "gv")


def draw_net(
    caffe_net: NetParameter,
    rankdir: str = "LR",
    ext: str = "png",
    phase: int | None = None,
    display_lrm: bool = False,
) -> bytes:
    """A picture of a net in the format `ext`; "raw" and "dot" give graphviz's text.

    rankdir: where the net leads, LR, RL, TB or BT. phase: leave out layers that are not in it.
    display_lrm: show learning rate multipliers. Old forms of nets are drawn as today's. Raises
    ConfigError for unknown settings, DataError where graphviz fails.
    """
    graph = graph_of(caffe_net, rankdir, phase=phase, display_lrm=display_lrm)
    if ext in _TEXT:
        return dot_text(graph).encode()
    program = shutil.which("dot")
    if program is not None:
        return _by_graphviz(program, dot_text(graph), ext)
    drawing = layout(graph)
    if ext == "svg":
        from pycaffe_clr.draw.svg import svg

        return svg(drawing).encode()
    from pycaffe_clr.draw.figure import picture

    return picture(drawing, ext)


def draw_net_to_file(
    caffe_net: NetParameter,
    filename: str | Path,
    rankdir: str = "LR",
    phase: int | None = None,
    display_lrm: bool = False,
) -> None:
    """Write a picture of a net in the format that the file's name ends in; see draw_net."""
    ext = Path(filename).suffix[1:].lower()
    if not ext:
        raise ConfigError(f"{filename}: the name needs an end that says the format, .png or .svg")
    write_atomically(filename, [draw_net(caffe_net, rankdir, ext, phase, display_lrm)])


def _by_graphviz(program: str, text: str, ext: str) -> bytes:
    done = subprocess.run([program, f"-T{ext}"], input=text.encode(), capture_output=True)
    if done.returncode:
        raise DataError(f"graphviz: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
