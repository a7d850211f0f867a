"""Which layers belong to a net, and which nets to a solver."""

from __future__ import annotations

import logging

import pytest

from pycaffe_clr import proto
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.prototxt import (
    filter_net,
    layer_specs,
    locate_net,
    locate_solver,
    parse_net,
    solver_nets,
)
from pycaffe_clr.prototxt.rules import merged_state


def names(text: str, phase=proto.TRAIN, level=0, stages=()):
    net, source = locate_net(text, "net")
    return [spec["name"] for spec in layer_specs(net, phase, level, stages, source)]


def layer(name: str, rules: str) -> str:
    return f'layer {{ name: "{name}" type: "Silence" {rules} }}\n'


@pytest.mark.parametrize(
    ("rules", "state", "included"),
    [
        ("", {}, True),
        ("include { }", {}, True),
        ("include { phase: TRAIN }", {}, True),
        ("include { phase: TEST }", {}, False),
        ("exclude { phase: TRAIN }", {}, False),
        ("exclude { phase: TEST }", {}, True),
        ("include { min_level: 2 }", {"level": 1}, False),
        ("include { min_level: 2 }", {"level": 2}, True),
        ("include { max_level: 2 }", {"level": 3}, False),
        ("include { max_level: 2 min_level: -1 }", {"level": -1}, True),
        ("include { stage: 'a' }", {"stages": ["a", "b"]}, True),
        ("include { stage: 'a' stage: 'c' }", {"stages": ["a", "b"]}, False),
        ("include { stage: 'a' not_stage: 'b' }", {"stages": ["a", "b"]}, False),
        ("include { not_stage: 'c' }", {"stages": ["a", "b"]}, True),
        ("include { stage: 'x' } include { phase: TRAIN }", {}, True),
        ("exclude { stage: 'x' } exclude { phase: TRAIN }", {}, False),
        ("exclude { stage: 'a' phase: TEST }", {"stages": ["a"]}, True),
    ],
)
def test_rules_decide_as_caffe_does(rules, state, included):
    assert names(layer("a", rules), **state) == (["a"] if included else [])


def test_include_beside_exclude_is_an_error():
    text = layer("ok", "") + layer("a", "include { } exclude { }")
    with pytest.raises(ConfigError, match='net:2: layer "a" has include and exclude rules'):
        names(text)


def test_names_need_only_be_unique_after_filtering(caplog):
    text = layer("d", "include { phase: TRAIN }") + layer("d", "include { phase: TEST }")
    assert names(text) == ["d"]
    assert not caplog.records
    assert names(text + layer("d", "")) == ["d", "d"]
    assert 'net:3: two layers of the TRAIN net are called "d"; the other is at net:1' in caplog.text


def test_later_states_win_and_stages_add_up():
    net = parse_net("state { level: 3 stage: 'own' phase: TEST }")
    state = merged_state(proto.TRAIN, net)
    assert (state.phase, state.level, list(state.stage)) == (proto.TEST, 3, ["own"])
    override = proto.NetState(phase=proto.TRAIN, level=5, stage=["more"])
    state = merged_state(proto.TRAIN, net, override)
    assert (state.phase, state.level, list(state.stage)) == (proto.TRAIN, 5, ["own", "more"])


def test_filter_net_keeps_only_what_is_included():
    net, source = locate_net(layer("a", "include { phase: TRAIN }") + layer("b", ""))
    filtered = filter_net(net, proto.NetState(phase=proto.TEST))
    assert [kept.name for kept in filtered.layer] == ["b"]
    assert len(net.layer) == 2 and filtered.state.phase == proto.TEST
    assert layer_specs(net, proto.TEST, source=source)[0]["where"] == "<net>:2"


SOLVER = 'base_lr: 1 lr_policy: "fixed" '
NET = layer("train", "include { phase: TRAIN }") + layer("test", "include { phase: TEST }")


def nets_of(text: str, path=None):
    solver, source = locate_solver(SOLVER + text, "s")
    return solver_nets(solver, path, source=source)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "solvers").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


def test_net_path_is_looked_up_in_three_places(folder):
    solver = folder / "solvers" / "s.prototxt"
    with pytest.raises(ConfigError, match="s:1:31: net file is not there; tried net.prototxt, .*"
                       "solvers/net.prototxt, .*--set net=FILE"):  # fmt: skip
        nets_of('net: "net.prototxt"', solver)
    found = []
    for place in (folder, folder / "solvers", folder / "elsewhere"):
        (place / "net.prototxt").write_text(NET)
        found.append(nets_of('net: "net.prototxt"', solver).paths[0].resolve().parent)
    assert found == [folder, folder / "solvers", folder / "elsewhere"]


def test_generic_net_serves_training_and_every_test(folder):
    (folder / "net.prototxt").write_text(NET + layer("big", "include { stage: 'big' }"))
    nets = nets_of(
        'net: "../net.prototxt" test_iter: 1 test_iter: 2 test_interval: 5 '
        "test_state { } test_state { stage: 'big' } train_state { stage: 'big' }"
    )
    assert [spec["name"] for spec in layer_specs(nets.train)] == ["train", "big"]
    tests = [[spec["name"] for spec in layer_specs(net)] for net in nets.tests]
    assert tests == [["test"], ["test", "big"]]
    assert layer_specs(nets.tests[1], source=nets.sources[2])[1]["where"].endswith("net.prototxt:3")
    assert len(nets.paths) == 1


def test_test_nets_come_in_caffes_order(folder):
    for name in ("one", "two"):
        (folder / "elsewhere" / f"{name}.prototxt").write_text(f'name: "{name}"')
    nets = nets_of(
        'net_param { name: "generic" } test_net: "one.prototxt" test_net: "two.prototxt" '
        'test_net_param { name: "inline" } test_iter: [1, 1, 1, 1] test_interval: 1'
    )
    assert nets.train.name == "generic" and nets.train.state.phase == proto.TRAIN
    assert [net.name for net in nets.tests] == ["inline", "one", "two", "generic"]
    assert all(net.state.phase == proto.TEST for net in nets.tests)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no net is named"),
        ('net_param { } train_net: "a"', "given more than once"),
        ("train_net_param { } test_iter: 1 test_interval: 1", "1 test_iter values and 0 test nets"),
        ("train_net_param { } test_net_param { }", "0 test_iter values and 1 test nets"),
        ("net_param { } test_net_param { } test_net_param { } test_iter: 1 test_interval: 1",
         "1 test_iter values for 2 test nets"),
        ("net_param { } test_iter: 1 test_interval: 1 test_state { } test_state { }",
         "2 test_state blocks and 1 test nets"),
    ],
)  # fmt: skip
def test_contradictions_are_errors(text, message):
    with pytest.raises(ConfigError, match=f"^s.*{message}"):
        nets_of(text)


def test_a_solver_without_tests_has_no_test_nets():
    assert nets_of('net_param { name: "a" }').tests == []


def test_positions_of_inline_nets_name_the_solver(caplog):
    with caplog.at_level(logging.INFO):
        nets = nets_of('net_param { layer { name: "a" type: "Silence" } }')
    assert layer_specs(nets.train, source=nets.sources[0])[0]["where"] == "s"
