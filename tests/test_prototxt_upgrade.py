"""Old nets and solvers become what Caffe's own upgrade makes of them."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.proto import SolverParameter
from pycaffe_clr.prototxt import (
    format_message,
    layer_specs,
    load_net,
    parse_net,
    parse_solver,
    parse_text,
    read_net,
    read_solver,
)
from pycaffe_clr.prototxt.upgrade import SOLVER_TYPES, upgrade_solver
from pycaffe_clr.prototxt.validate import TYPES

FILES = Path(__file__).parent / "golden" / "files"


@pytest.mark.parametrize("name", ["v0_net", "v1_net", "bn_old"])
def test_net_equals_caffes_upgrade(name):
    net = read_net(FILES / f"{name}.prototxt")
    assert format_message(net) == (FILES / f"{name}.upgraded.prototxt").read_text()


def test_solver_equals_caffes_upgrade():
    solver = parse_text((FILES / "solver_old.prototxt").read_text(), SolverParameter)
    upgrade_solver(solver)
    assert format_message(solver) == (FILES / "solver_old.upgraded.prototxt").read_text()


@pytest.mark.parametrize("name", ["v0_net", "v1_net", "bn_old"])
def test_upgraded_nets_need_no_further_upgrade(name, caplog):
    with caplog.at_level(logging.INFO):
        read_net(FILES / f"{name}.upgraded.prototxt")
    assert not caplog.records


def test_rewrites_are_reported(caplog):
    with caplog.at_level(logging.INFO):
        read_net(FILES / "v0_net.prototxt")
    log = caplog.text
    assert "V0 layers to V1 layers" in log
    assert "V1 layers to today's" in log
    assert "input fields to an Input layer" in log


def test_layers_keep_their_lines():
    net, source = load_net(FILES / "v0_net.prototxt")
    specs = {spec["name"]: spec["where"] for spec in layer_specs(net, source=source)}
    lines = (FILES / "v0_net.prototxt").read_text().splitlines()
    for name in ("data", "conv1", "relu1", "fc8", "loss"):
        line = int(specs[name].rsplit(":", 1)[1])
        assert lines[line - 1].startswith("layers {")
        assert f'name: "{name}"' in "\n".join(lines[line - 1 : line + 2])
    assert specs["input"].endswith(":2")


def test_batch_norm_multipliers_become_zero():
    net = parse_net(
        'layer { type: "BatchNorm" param { lr_mult: 1 } param { } param { name: "c" } }'
    )
    assert [(p.lr_mult, p.decay_mult) for p in net.layer[0].param] == [(0, 0)] * 3
    assert net.layer[0].param[2].name == "c"
    other = parse_net('layer { type: "BatchNorm" param { lr_mult: 2 } }')
    assert other.layer[0].param[0].lr_mult == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('layers { name: "a" } layer { name: "b" }', "mixes old"),
        ('input: "x" input: "y" input_dim: 1', "2 inputs and 1 input_dim values"),
        ('input: "x" input_shape { } input_shape { }', "1 inputs and 2 input_shape"),
        ('input: "x"', "have no shape"),
        ('layers { layer { name: "a" type: "nothing" } }', 'old layer type "nothing" is unknown'),
        (
            'layers { layer { name: "p" type: "padding" } bottom: "x" top: "y" } '
            'layers { layer { name: "r" type: "relu" } bottom: "y" }',
            "only conv and pool can",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_upgraded_is_an_error(text, message):
    with pytest.raises(ConfigError, match=f"^net.*{message}"):
        parse_net(text, "net")


def test_every_old_type_has_its_name():
    for old, name in SOLVER_TYPES.items():
        text = f'base_lr: 1 lr_policy: "fixed" solver_type: {old}'
        assert parse_solver(text, "s").type == name
    assert sorted(SOLVER_TYPES.values()) == sorted(TYPES)


def test_solver_type_beside_type_is_an_error():
    text = 'base_lr: 1 lr_policy: "fixed" type: "SGD" solver_type: ADAM'
    with pytest.raises(ConfigError, match="s:1:43: both solver_type and type"):
        parse_solver(text, "s")
    assert parse_solver(text, "s", sets={"type": "Nesterov"}).type == "Nesterov"


def test_inline_nets_are_upgraded():
    solver = parse_solver(
        'base_lr: 1 lr_policy: "fixed" net_param { layers { name: "a" type: RELU } } '
        'test_net_param { input: "x" input_dim: [1, 2, 3, 4] }'
    )
    assert solver.net_param.layer[0].type == "ReLU"
    assert solver.test_net_param[0].layer[0].type == "Input"


def test_snapshots_are_named_after_the_solver_where_it_names_none(tmp_path):
    path = tmp_path / "my_solver.prototxt"
    path.write_text('base_lr: 1 lr_policy: "fixed"')
    assert read_solver(path).snapshot_prefix == str(tmp_path / "my_solver")
    path.write_text(f'base_lr: 1 lr_policy: "fixed" snapshot_prefix: "{tmp_path}"')
    assert read_solver(path).snapshot_prefix == str(tmp_path / "my_solver")
    path.write_text('base_lr: 1 lr_policy: "fixed" snapshot_prefix: "a/b"')
    assert read_solver(path).snapshot_prefix == "a/b"
