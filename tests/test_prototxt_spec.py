"""Layers as plain data, and the schema that goes with them."""

from __future__ import annotations

import time

import pytest

from pycaffe_clr import catalog, proto
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.prototxt import (
    layer_specs,
    load_net,
    locate_net,
    parse_net,
    read_net,
    read_solver,
    schema,
)

NET = """
layer {
  name: "conv1"
  type: "Convolution"
  bottom: "data"
  top: "conv1"
  loss_weight: 0.5
  param { lr_mult: 1 }
  param { lr_mult: 2 share_mode: PERMISSIVE }
  include { phase: TRAIN }
  convolution_param {
    num_output: 20
    kernel_size: [5, 3]
    bias_term: false
    weight_filler { type: "xavier" variance_norm: AVERAGE }
    engine: CAFFE
  }
}
"""

# Every placeholder of the report's files.
DEFINES = {
    "xBS": "8", "xLR1": "1", "xLR2": "0.1", "xStep": "100", "xIter": "300", "xwd": "1e-4",
    "xmom": "0.9", "xmom1": "0.95", "xmom2": "0.85", "xmom3": "100",
    "xSV1": "10", "xSV2": "20", "xSV3": "30", "xSV4": "40", "xSV5": "50",
}  # fmt: skip


def test_spec_holds_the_fields_that_were_set():
    net, source = locate_net(NET, "net.prototxt")
    (spec,) = layer_specs(net, proto.TRAIN, source=source)
    assert spec == {
        "type": "Convolution",
        "name": "conv1",
        "bottoms": ["data"],
        "tops": ["conv1"],
        "where": "net.prototxt:2",
        "attributes": {
            "loss_weight": [0.5],
            "param": [{"lr_mult": 1.0}, {"share_mode": "PERMISSIVE", "lr_mult": 2.0}],
            "convolution_param": {
                "num_output": 20,
                "bias_term": False,
                "kernel_size": [5, 3],
                "weight_filler": {"type": "xavier", "variance_norm": "AVERAGE"},
                "engine": "CAFFE",
            },
        },
    }


def test_layer_without_type_is_an_error():
    net, source = locate_net('layer { name: "a" }', "net")
    with pytest.raises(ConfigError, match='net:1: layer "a" has no type'):
        layer_specs(net, proto.TRAIN, source=source)


def test_own_state_is_taken_where_no_phase_is_given():
    net = parse_net(NET + "state { phase: TEST }")
    assert layer_specs(net) == []
    assert len(layer_specs(net, proto.TRAIN)) == 1


def test_schema_describes_every_kind():
    messages = schema()["messages"]
    convolution = messages["ConvolutionParameter"]
    assert convolution["bias_term"] == field("bool", default=True)
    assert convolution["kernel_size"] == field("int", repeated=True, default=0)
    assert convolution["weight_filler"] == field("message", message="FillerParameter")
    assert convolution["engine"] == field("enum", default="DEFAULT")
    assert messages["LayerParameter"]["type"] == field("string", default="")
    assert messages["BatchNormParameter"]["eps"]["default"] == pytest.approx(1e-5)
    assert isinstance(messages["FillerParameter"]["value"]["default"], float)
    assert messages["HingeLossParameter"]["norm"]["default"] == "L1"
    assert messages["Datum"]["data"]["kind"] == "bytes"


def field(kind, repeated=False, default=None, message=""):
    return {"kind": kind, "repeated": repeated, "default": default, "message": message}


def test_originals_parse_and_reflect(shared):
    """All nets and solvers of the report, those with placeholders filled in."""
    paths = sorted((shared / "originals").rglob("*.prototxt"))
    nets = [path for path in paths if path.parent.name == "architectures"]
    assert len(nets) == 9
    for path in paths:
        if path not in nets:
            assert read_solver(path, DEFINES).HasField("net")
            continue
        net, source = load_net(path, DEFINES)
        for phase in (proto.TRAIN, proto.TEST):
            specs = layer_specs(net, phase, source=source)
            assert specs[0]["type"] == "Data"
            assert all(spec["where"].startswith(f"{path}:") for spec in specs)


def test_inception_is_read_quickly():
    """To parse and build it should take less than 3 s; this part is held to a quarter."""
    path = catalog.find_net("inception_resnet_v2")
    times = []
    for _ in range(3):
        start = time.process_time()
        layer_specs(read_net(path), proto.TRAIN)
        times.append(time.process_time() - start)
    assert min(times) < 0.75
