"""Pictures of nets."""

from __future__ import annotations

import shutil
import sys
import types
import xml.etree.ElementTree as ET

import pytest

import pycaffe_clr as caffe
from pycaffe_clr.catalog import find_net
from pycaffe_clr.draw.graph import graph_of
from pycaffe_clr.draw.layout import layout
from pycaffe_clr.prototxt import parse_net, read_net

NET = """
name: "a <net> & \\"more\\""
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 3 }
  convolution_param { num_output: 4 kernel_h: 3 kernel_w: 5 pad: 1 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" include { phase: TEST }
  pooling_param { pool: AVE global_pooling: true } }
layer { name: "sum" type: "Eltwise" bottom: "conv" bottom: "pool" top: "sum" }
"""


@pytest.fixture(autouse=True)
def no_graphviz(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this package draws by itself."""
    monkeypatch.setattr(shutil, "which", lambda name: None)


def texts(svg: bytes) -> list[str]:
    return [e.text or "" for e in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_a_picture_shows_layers_blobs_and_their_settings():
    shown = texts(caffe.draw.draw_net(parse_net(NET), "LR", "svg", display_lrm=True))
    wanted = ["conv", "(Convolution)", "kernel size: 3x5", "stride: 1", "pad: 1", "4",
              "lr mult: 3.0, 1.0", "(Pooling AVE)", "global", "(ReLU)", "data", "sum"]  # fmt: skip
    assert set(wanted) <= set(shown)
    assert shown.count("conv") == 2  # the layer and the blob


def test_layers_of_other_phases_may_be_left_out():
    graph = graph_of(parse_net(NET), phase=caffe.TRAIN)
    assert not any("pool" in node.lines and not node.is_blob for node in graph.nodes.values())
    assert len(graph_of(parse_net(NET), phase=caffe.TEST).nodes) == 9


def test_text_for_graphviz():
    text = caffe.draw.draw_net(parse_net(NET), "TB", "dot").decode()
    assert 'digraph "a <net> & \\"more\\"" {' in text and "rankdir=TB" in text
    assert '"blob data" -> "layer 1";' in text and '"layer 1" -> "blob conv" [label="4"];' in text
    assert '"blob conv" -> "layer 2";' in text and '"layer 2" -> "blob conv";' in text


@pytest.mark.parametrize("rankdir", ["LR", "RL", "TB", "BT"])
def test_boxes_lie_within_the_picture_and_apart(rankdir):
    drawing = layout(graph_of(parse_net(NET), rankdir))
    for index, box in enumerate(drawing.boxes):
        assert box.width / 2 <= box.x <= drawing.width - box.width / 2
        assert box.height / 2 <= box.y <= drawing.height - box.height / 2
        for other in drawing.boxes[:index]:
            apart = abs(box.x - other.x) >= (box.width + other.width) / 2
            assert apart or abs(box.y - other.y) >= (box.height + other.height) / 2
    x = {box.node.lines[0]: box.x if rankdir in ("LR", "RL") else box.y for box in drawing.boxes}
    forth = rankdir in ("LR", "TB")
    assert (x["data"] < x["conv"] < x["sum"]) is forth


@pytest.mark.parametrize("ext", ["svg", "png", "pdf"])
def test_formats(tmp_path, ext):
    file = tmp_path / f"net.{ext}"
    caffe.draw.draw_net_to_file(parse_net(NET), file)
    begin = {"svg": b"<svg", "png": b"\x89PNG", "pdf": b"%PDF"}[ext]
    assert file.read_bytes().startswith(begin)


def test_a_large_net_and_old_forms_and_nothing():
    assert len(texts(caffe.draw.draw_net(read_net(find_net("resnet56")), "TB", "svg"))) > 300
    old = caffe.proto.caffe_pb2.NetParameter(input=["x"], input_dim=[1, 2, 3, 4])
    old.layers.add(name="r", type=18, bottom=["x"], top=["y"])
    assert "(ReLU)" in texts(caffe.draw.draw_net(old, "LR", "svg"))
    assert len(old.layers) == 1
    assert ET.fromstring(caffe.draw.draw_net(caffe.proto.NetParameter(), "LR", "svg")) is not None


class Told:
    """Stands for each class of pydot: remembers what it was made of and what it was given."""

    def __init__(self, *words: object, **style: object) -> None:
        self.words, self.style = words, style
        self.nodes: list[Told] = []
        self.edges: list[Told] = []
        self.add_node, self.add_edge = self.nodes.append, self.edges.append


def test_pycaffes_own_texts_and_graph(monkeypatch):
    """What BVLC's python/caffe/draw.py gives for this net."""
    draw = caffe.draw
    net = parse_net(NET)
    data, conv, relu, pool, _ = net.layer
    lines = ["conv", "(Convolution)", "kernel size: 1", "stride: 1", "pad: 1"]
    assert draw.get_layer_label(conv, "LR") == '"' + r"\n".join(lines) + '"'
    window = "kernel size: 0 stride: 1 pad: 0"
    assert draw.get_layer_label(pool, "TB") == f'"pool (Pooling AVE) {window}"'
    assert draw.get_layer_label(conv, "BT", True).endswith(' lr mult: 3.0, 1.0"')
    assert draw.get_layer_lr_mult(conv) == (3.0, 1.0)
    with pytest.raises(ValueError, match="ReLU layers do not have"):
        draw.get_layer_lr_mult(relu)
    assert (draw.get_edge_label(conv), draw.get_edge_label(data)) == ("4", '""')
    assert draw.get_pooling_types_dict() == {0: "MAX", 1: "AVE", 2: "STOCHASTIC"}
    module = types.SimpleNamespace(Dot=Told, Node=Told, Edge=Told)
    monkeypatch.setitem(sys.modules, "pydotplus", module)
    graph = draw.get_pydot_graph(net, "LR", phase=caffe.TRAIN)
    assert graph.words == ('a <net> & "more"',)
    assert graph.style == {"graph_type": "digraph", "rankdir": "LR"}
    nodes = {node.words[0]: node.style for node in graph.nodes}
    assert nodes["sum"] == {}  # a top, and nobody's bottom
    assert nodes[draw.get_layer_label(relu, "LR")] == draw.NEURON_LAYER_STYLE
    styled = {**draw.LAYER_STYLE_DEFAULT, "fillcolor": "#FF5050"}
    assert nodes[draw.get_layer_label(conv, "LR")] == styled
    assert nodes["pool"] == draw.BLOB_STYLE and len(graph.nodes) == 8
    assert [edge.style["label"] for edge in graph.edges] == ['""', '""', "4", *['""'] * 5]


def test_what_cannot_be_drawn_is_told(tmp_path, monkeypatch):
    for name in ("pydot", "pydotplus"):
        monkeypatch.setitem(sys.modules, name, None)
    net = parse_net(NET)
    with pytest.raises(caffe.ConfigError, match="rankdir must be"):
        caffe.draw.draw_net(net, "XY")
    with pytest.raises(caffe.ConfigError, match="no picture format 'bmpx'"):
        caffe.draw.draw_net(net, "LR", "bmpx")
    with pytest.raises(caffe.ConfigError, match="the name needs an end"):
        caffe.draw.draw_net_to_file(net, tmp_path / "net")
    with pytest.raises(caffe.ConfigError, match="pip install pydot"):
        caffe.draw.get_pydot_graph(net, "LR")


def test_graphviz_draws_where_it_is_installed(tmp_path, monkeypatch):
    program = tmp_path / "dot"
    program.write_text('#!/bin/sh\necho "$1"; head -n 1\n[ "$1" != -Tfail ]\n')
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(program))
    assert caffe.draw.draw_net(parse_net(NET), "LR", "svg").startswith(b"-Tsvg\ndigraph")
    with pytest.raises(caffe.DataError, match="graphviz"):
        caffe.draw.draw_net(parse_net(NET), "LR", "fail")
