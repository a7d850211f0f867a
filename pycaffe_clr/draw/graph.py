"""The graph of a net's layers and blobs, and its text for graphviz."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pycaffe_clr import proto
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.prototxt.upgrade import upgrade_net

if TYPE_CHECKING:
    from pycaffe_clr.proto import LayerParameter, NetParameter

RANKDIRS = ("LR", "RL", "TB", "BT")
_BLOB_COLOR, _IN_PLACE_COLOR, _LAYER_COLOR = "#E0E0E0", "#90EE90", "#6495ED"
_COLORS = {
    "Convolution": "#FF5050",
    "Deconvolution": "#FF5050",
    "Pooling": "#FF9900",
    "InnerProduct": "#CC33FF",
}
_LEARNING = ("Convolution", "Deconvolution", "InnerProduct")


@dataclass(frozen=True)
class Node:
    """A layer, or a blob: its text in lines and its colour."""

    lines: tuple[str, ...]
    color: str
    is_blob: bool = False


@dataclass
class Graph:
    """nodes: by keys that tell layers and blobs of one name apart; edges: (from, to, text)."""

    name: str
    rankdir: str
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[tuple[str, str, str]] = field(default_factory=list)


def choose_color_by_layertype(layertype: str) -> str:
    """The colour of a layer's box."""
    return _COLORS.get(layertype, _LAYER_COLOR)


def get_edge_label(layer: LayerParameter) -> str:
    """What is written at a layer's outputs: batch size or number of channels."""
    if layer.type == "Data":
        return f"Batch {layer.data_param.batch_size}"
    if layer.type in ("Convolution", "Deconvolution"):
        return str(layer.convolution_param.num_output)
    if layer.type == "InnerProduct":
        return str(layer.inner_product_param.num_output)
    return ""


def get_layer_label(layer: LayerParameter, rankdir: str, display_lrm: bool = False) -> str:
    """The text of a layer's box; its lines are one where the net leads up or down."""
    return (" " if rankdir in ("TB", "BT") else "\n").join(_lines(layer, display_lrm))


def _lines(layer: LayerParameter, display_lrm: bool) -> list[str]:
    kind = layer.type
    if kind == "Pooling":
        kind += f" {layer.pooling_param.PoolMethod.Name(layer.pooling_param.pool)}"
    lines = [layer.name, f"({kind})"]
    if layer.type == "Pooling" and layer.pooling_param.global_pooling:
        lines.append("global")
    elif layer.type in ("Convolution", "Deconvolution", "Pooling"):
        lines += _window(layer)
    if display_lrm and layer.type in _LEARNING:
        first, second = [*(each.lr_mult for each in layer.param), 1.0, 1.0][:2]
        lines.append(f"lr mult: {first:.1f}, {second:.1f}")
    return lines


def _window(layer: LayerParameter) -> list[str]:
    """Kernel, stride and pad: of both axes where they differ."""
    pooling = layer.type == "Pooling"
    lines = []
    for text, name, default in [("kernel size", "kernel", 1), ("stride", "stride", 1),
                                ("pad", "pad", 0)]:  # fmt: skip
        param = layer.pooling_param if pooling else layer.convolution_param
        whole = getattr(param, "kernel_size" if name == "kernel" else name)
        values = [whole] if pooling else list(whole) or [default]
        if param.HasField(f"{name}_h") or param.HasField(f"{name}_w"):
            values = [getattr(param, f"{name}_h"), getattr(param, f"{name}_w")]
        shown = values if len(set(values)) > 1 else values[:1]
        lines.append(f"{text}: {'x'.join(map(str, shown))}")
    return lines


def _is_in(layer: LayerParameter, phase: int) -> bool:
    """Whether a layer has a rule for a phase, as far as phases go."""
    if len(layer.include) and len(layer.exclude):
        raise ConfigError(f"layer '{layer.name}' has both include and exclude rules")
    if len(layer.include):
        return any(not r.HasField("phase") or r.phase == phase for r in layer.include)
    return not any(r.HasField("phase") and r.phase == phase for r in layer.exclude)


def graph_of(
    net: NetParameter,
    rankdir: str = "LR",
    label_edges: bool = True,
    phase: int | None = None,
    display_lrm: bool = False,
) -> Graph:
    """The graph of a net; see draw_net."""
    if rankdir not in RANKDIRS:
        raise ConfigError(f"rankdir must be one of {', '.join(RANKDIRS)}, not {rankdir!r}")
    upgraded = proto.NetParameter()
    upgraded.CopyFrom(net)
    upgrade_net(upgraded)
    graph = Graph(net.name or "Net", rankdir)
    for index, layer in enumerate(upgraded.layer):
        if phase is None or _is_in(layer, phase):
            _add(graph, layer, f"layer {index}", label_edges, display_lrm)
    return graph


def _add(
    graph: Graph, layer: LayerParameter, key: str, label_edges: bool, display_lrm: bool
) -> None:
    in_place = len(layer.bottom) == 1 and list(layer.bottom) == list(layer.top)
    color = _IN_PLACE_COLOR if in_place else choose_color_by_layertype(layer.type)
    lines = tuple(get_layer_label(layer, graph.rankdir, display_lrm).split("\n"))
    graph.nodes[key] = Node(lines, color)
    for blob in [*layer.bottom, *layer.top]:
        graph.nodes.setdefault(f"blob {blob}", Node((blob,), _BLOB_COLOR, is_blob=True))
    for bottom in layer.bottom:
        graph.edges.append((f"blob {bottom}", key, ""))
    for top in layer.top:
        graph.edges.append((key, f"blob {top}", get_edge_label(layer) if label_edges else ""))


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def dot_text(graph: Graph) -> str:
    """The graph in graphviz's language."""
    lines = [f"digraph {_quoted(graph.name)} {{", f"  rankdir={graph.rankdir};"]
    for key, node in graph.nodes.items():
        shape = "octagon" if node.is_blob else "box"
        lines.append(
            f"  {_quoted(key)} [label={_quoted(chr(10).join(node.lines))}, shape={shape}, "
            f'style=filled, fillcolor="{node.color}"];'
        )
    for start, end, text in graph.edges:
        label = f" [label={_quoted(text)}]" if text else ""
        lines.append(f"  {_quoted(start)} -> {_quoted(end)}{label};")
    return "\n".join([*lines, "}", ""])
