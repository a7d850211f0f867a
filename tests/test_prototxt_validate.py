"""Values of a solver are checked while it is read; --set changes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pycaffe_clr import proto
from pycaffe_clr.catalog import find_solver
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.prototxt import (
    apply_sets,
    locate_solver,
    parse_assignments,
    parse_net,
    parse_solver,
    read_solver,
    unused_defines,
)

GOOD = "base_lr: 0.1\n"


def solver(text: str, **more):
    return parse_solver(GOOD + text, "clr.prototxt", **more)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('lr_policy: "triangluar"', r'2:1: lr_policy "triangluar" is unknown \(did you mean '
         r"triangular\?\); known: fixed, step, .*triangular, .*1cycle"),
        ("", "lr_policy is not set"),
        ('lr_policy: "step" gamma: 0.1', "needs stepsize, which is not set"),
        ('lr_policy: "step" gamma: 0.1 stepsize: 0', "2:30: stepsize is 0"),
        ('lr_policy: "triangular" max_lr: 1 stepsize: -5', "stepsize is -5"),
        ('lr_policy: "1cycle" stepsize: 5', "needs max_lr, which is not set"),
        ('lr_policy: "exp"', "needs gamma"),
        ('lr_policy: "poly" power: 1', "needs max_iter"),
        ('lr_policy: "poly" power: 1 max_iter: 0', "divides by max_iter"),
        ('lr_policy: "sigmoid" gamma: -1 stepsize: 3', "gamma is -1, expected 0 or more"),
        ('lr_policy: "fixed" momentum: -0.1', "2:20: momentum is -0.1"),
        ('lr_policy: "fixed" momentum: nan', "momentum is nan, expected a finite number"),
        ('lr_policy: "fixed" display: -1', "display is -1"),
        ('lr_policy: "fixed" max_iter: -1', "max_iter is -1"),
        ('lr_policy: "fixed" iter_size: 0', "iter_size is 0, expected 1 or more"),
        ('lr_policy: "fixed" average_loss: 0', "average_loss is 0"),
        ('lr_policy: "fixed" replicas: 0', "replicas is 0"),
        ('lr_policy: "fixed" test_interval: -1', "test_interval is -1"),
        ('lr_policy: "fixed" test_iter: 1', "test_interval must be 1 or more"),
        ('lr_policy: "fixed" test_iter: [3, 0] test_interval: 1', "test_iter is 0"),
        ('lr_policy: "fixed" type: "Nestorov"', "did you mean Nesterov"),
        ('lr_policy: "fixed" regularization_type: "L3"', "known: L1, L2"),
        ('lr_policy: "fixed" type: "AdaGrad" momentum: 0.9', "cannot be used with type AdaGrad"),
        ('lr_policy: "fixed" type: "RMSProp" rms_decay: 1', "rms_decay is 1"),
        ('lr_policy: "fixed" cyclical_momentum: [0.8, 0]', "half a cycle of momentum is 0"),
    ],
)  # fmt: skip
def test_wrong_values_are_errors_with_a_place(text, message):
    with pytest.raises(ConfigError, match="clr.prototxt.*" + message):
        solver(text)


def test_base_lr_must_be_set():
    with pytest.raises(ConfigError, match="base_lr is not set"):
        parse_solver('lr_policy: "fixed"', "s")


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ('lr_policy: "multistep" gamma: 0.1 stepvalue: [5, 3]', "not in rising order"),
        ('lr_policy: "fixed" momentum: 1', "this diverges"),
        ('lr_policy: "fixed" cyclical_momentum: 0.5', "is ignored; it takes two"),
        ('lr_policy: "fixed" type: "Adam" cyclical_momentum: [0.8, 9]', "ignores cyclical"),
        ('lr_policy: "fixed" type: "Adam" momentum2: 1', "with momentum2 1 nothing is learned"),
        ('lr_policy: "inv" gamma: 0.1', "without power"),
    ],
)
def test_what_caffe_accepts_is_only_warned_about(text, warning, caplog):
    solver(text)
    assert warning in caplog.text


def test_shipped_solvers_are_not_warned_about(tmp_path, caplog):
    shipped = find_solver("lenet_step")
    read_solver(shipped)
    assert "rising order" not in caplog.text
    mine = tmp_path / "mine.prototxt"
    mine.write_text(shipped.read_text())
    read_solver(mine)
    assert "mine.prototxt:" in caplog.text and "rising order" in caplog.text


def test_golden_solvers_are_accepted():
    cases = json.loads((Path(__file__).parent / "golden" / "schedules.json").read_text())
    assert len(cases) > 100
    for case in cases:
        parse_solver(case["solver"])


def test_sets_change_scalars_repeated_fields_and_inner_ones():
    changed = solver(
        'lr_policy: "fixed" test_iter: 7',
        sets={
            "lr_policy": "1cycle", "max_lr": "0.8", "stepsize": "41", "test_iter": "3, 4",
            "test_interval": "10", "train_state.stage": "a,b", "solver_mode": "CPU",
            "test_initialization": "false", "net": "other net.prototxt",
        },
    )  # fmt: skip
    assert changed.lr_policy == "1cycle" and changed.max_lr == pytest.approx(0.8)
    assert list(changed.test_iter) == [3, 4]
    assert list(changed.train_state.stage) == ["a", "b"]
    assert changed.solver_mode == proto.SolverParameter.CPU
    assert not changed.test_initialization
    assert changed.net == "other net.prototxt"


def test_an_empty_set_clears_the_field():
    assert not solver('lr_policy: "fixed" momentum: 0.9', sets={"momentum": ""}).HasField(
        "momentum"
    )


def test_sets_reach_layers_by_name_or_number():
    net = parse_net('layer { name: "a" } layer { name: "b" }')
    apply_sets(net, {"layer.b.data_param.batch_size": "1", "layer.0.type": "Data"})
    assert net.layer[1].data_param.batch_size == 1 and net.layer[0].type == "Data"


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ({"max_itr": "3"}, r"^--set max_itr=3: SolverParameter has no field .max_itr.; did you"),
        ({"max_iter": "many"}, r"^--set max_iter=many.*takes a whole number"),
        ({"max_iter": "3 4"}, r"^--set max_iter=3 4.*unexpected"),
        ({"max_iter.a": "3"}, "max_iter is a plain value"),
        ({"train_state": "3"}, "name one of its fields: phase, level, stage"),
        ({"test_state.0.level": "3"}, "there are 0"),
        ({"test_state": "3"}, "choose one of the test_states"),
        ({"lr_policy": "nothing"}, r"^--set lr_policy=nothing: lr_policy .nothing. is unknown"),
    ],
)  # fmt: skip
def test_wrong_sets_name_themselves(sets, message):
    with pytest.raises(ConfigError, match=message):
        solver('lr_policy: "fixed"', sets=sets)


def test_assignments_of_the_command_line():
    assert parse_assignments(["a=1", "b.c=x=y"], "-D") == {"a": "1", "b.c": "x=y"}
    with pytest.raises(ConfigError, match="-D a: expected NAME=VALUE"):
        parse_assignments(["a"], "-D")


def test_unused_defines_are_named():
    defines = {"xLR": "0.1", "xBS": "3"}
    _, source = locate_solver('base_lr: xLR lr_policy: "fixed"', defines=defines)
    assert unused_defines(defines, source) == ["xBS"]
