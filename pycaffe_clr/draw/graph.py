"""The graph of a net's layers and blobs, and its text for graphviz."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pycaffe_clr import proto
from pycaffe_clr.draw.labels import LEARNING, get_edge_label, get_layer_lr_mult
from pycaffe_clr.draw.styles import BLOB_STYLE, NEURON_LAYER_STYLE, choose_color_by_layertype
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.prototxt.upgrade import upgrade_net

if TYPE_CHECKING:
    from pycaffe_clr.proto import LayerParameter, NetParameter

RANKDIRS = ("LR", "RL", "TB", "BT")


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


def _lines(layer: LayerParameter, display_lrm: bool) -> list[str]:
    kind = layer.type
    if kind == "Pooling":
        kind += f" {layer.pooling_param.PoolMethod.Name(layer.pooling_param.pool)}"
    lines = [layer.name, f"({kind})"]
    if layer.type == "Pooling" and layer.pooling_param.global_pooling:
        lines.append("global")
    elif layer.type in ("Convolution", "Deconvolution", "Pooling"):
        lines += _window(layer)
    if display_lrm and layer.type in LEARNING:
        lines.append("lr mult: {:.1f}, {:.1f}".format(*get_layer_lr_mult(layer)))
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


def layers_of(net: NetParameter, phase: int | None) -> list[LayerParameter]:
    """A net's layers in today's form; phase: those that may be in it."""
    upgraded = proto.NetParameter()
    upgraded.CopyFrom(net)
    upgrade_net(upgraded)
    return [layer for layer in upgraded.layer if phase is None or _is_in(layer, phase)]


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
    graph = Graph(net.name or "Net", rankdir)
    for index, layer in enumerate(layers_of(net, phase)):
        _add(graph, layer, f"layer {index}", label_edges, display_lrm)
    return graph


def _add(
    graph: Graph, layer: LayerParameter, key: str, label_edges: bool, display_lrm: bool
) -> None:
    in_place = len(layer.bottom) == 1 and list(layer.bottom) == list(layer.top)
    color = choose_color_by_layertype(layer.type)
    if in_place:
        color = NEURON_LAYER_STYLE["fillcolor"]
    lines = _lines(layer, display_lrm)
    if graph.rankdir in ("TB", "BT"):  # there is room at the sides
        lines = [" ".join(lines)]
    graph.nodes[key] = Node(tuple(lines), color)
    for blob in [*layer.bottom, *layer.top]:
        graph.nodes.setdefault(f"blob {blob}", Node((blob,), BLOB_STYLE["fillcolor"], is_blob=True))
    for bottom in layer.bottom:
        graph.edges.append((f"blob {bottom}", key, ""))
    text = get_edge_label(layer).strip('"') if label_edges else ""
    for top in layer.top:
        graph.edges.append((key, f"blob {top}", text))


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
