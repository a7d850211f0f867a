"""What a script writes into solver.param counts from the next iteration on, or is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from train_cases import make_case

import pycaffe_clr as caffe
from pycaffe_clr import proto
from pycaffe_clr.train import changes

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny solver, without tests, displays and snapshots; its folder is the working one."""
    monkeypatch.chdir(tmp_path)
    solver = make_case(tmp_path)
    plain = [
        line
        for line in solver.read_text().splitlines()
        if not line.startswith(("test_", "display", "snapshot:"))
    ]
    solver.write_text("\n".join(plain))
    return solver


def weights(solver: caffe.SGDSolver) -> np.ndarray:
    return np.concatenate([b.data.ravel() for p in solver.net.params.values() for b in p])


def test_every_field_is_of_one_class():
    classes = [changes.FIXED, changes.LIVE, changes.COPIED, changes.UNUSED]
    names = [name for fields in classes for name in fields]
    assert sorted(names) == sorted(field.name for field in proto.SolverParameter.DESCRIPTOR.fields)


def test_a_new_base_lr_is_the_one_a_solver_made_with_it_has(case):
    solver = caffe.get_solver(case)
    assert solver.lr == pytest.approx(0.01)
    solver.param.base_lr = 0.05
    assert solver.lr == pytest.approx(0.05)
    solver.step(2)
    case.write_text(case.read_text().replace("base_lr: 0.01", "base_lr: 0.05"))
    other = caffe.get_solver(case)
    other.step(2)
    assert np.array_equal(weights(solver), weights(other))
    assert solver.iter == 2 and solver.lr == other.lr


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lr_policy", "fixed"), ("base_lr", 0.02), ("max_lr", 0.3), ("stepsize", 7),
        ("momentum", 0.5), ("weight_decay", 0.1), ("regularization_type", "L1"),
        ("clip_gradients", 0.01), ("iter_size", 2),
    ],
)  # fmt: skip
def test_settings_that_the_core_copied_change_the_next_update(case, field, value):
    same, changed = (caffe.get_solver(case) for _ in range(2))
    for solver in (same, changed):
        solver.step(2)
    assert np.array_equal(weights(same), weights(changed))
    setattr(changed.param, field, value)
    for solver in (same, changed):
        solver.step(1)
    assert changed.iter == 3
    assert not np.array_equal(weights(same), weights(changed))


@pytest.mark.parametrize("kind", ["Nesterov", "Adam"])
def test_momentum_goes_on_from_the_history_that_there_is(case, kind):
    """A change that changes nothing: the update is as if nobody had touched the settings."""
    case.write_text(case.read_text().replace('"Nesterov"', f'"{kind}"'))
    same, touched = (caffe.get_solver(case) for _ in range(2))
    for solver in (same, touched):
        solver.step(3)
    touched.param.gamma = 0.5  # which 1cycle does not read
    for solver in (same, touched):
        solver.step(2)
    assert np.array_equal(weights(same), weights(touched))


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [("Adam", "momentum2", 0.5), ("AdaDelta", "delta", 0.1), ("RMSProp", "rms_decay", 0.5)],
)
def test_what_only_some_rules_read_may_change(case, kind, field, value):
    plain = [line for line in case.read_text().splitlines() if "momentum" not in line]
    case.write_text("\n".join(plain).replace('"Nesterov"', f'"{kind}"'))
    same, changed = (caffe.get_solver(case) for _ in range(2))
    for solver in (same, changed):
        solver.step(2)
    setattr(changed.param, field, value)
    for solver in (same, changed):
        solver.step(1)
    assert not np.array_equal(weights(same), weights(changed))


def test_steps_taken_stay_taken(case):
    text = case.read_text().replace('"1cycle"', '"multistep"') + "\ngamma: 0.1\nstepvalue: 1\n"
    case.write_text(text)
    solver = caffe.get_solver(case)
    solver.step(3)
    assert solver.lr == pytest.approx(0.001)
    solver.param.base_lr = 0.1
    assert solver.lr == pytest.approx(0.01)


def test_periods_and_names_count_at_once(case):
    solver = caffe.get_solver(case)
    solver.step(1)
    solver.param.snapshot = 2
    solver.param.snapshot_prefix = "named/new"
    solver.param.average_loss = 9
    solver.param.max_iter = 4
    solver.solve()
    assert solver.iter == 4
    assert sorted(path.name for path in Path("named").iterdir()) == [
        "new_iter_2.caffemodel", "new_iter_2.solverstate",
        "new_iter_4.caffemodel", "new_iter_4.solverstate",
    ]  # fmt: skip
    assert solver._session.losses.maxlen == 9


def test_callbacks_may_change_rates(case):
    same, changed = (caffe.get_solver(case) for _ in range(2))

    def frozen():
        changed.param.base_lr = changed.param.max_lr = 0

    before = weights(changed)
    same.add_callback(lambda: None, lambda: None)
    changed.add_callback(lambda: None, frozen)
    for solver in (same, changed):
        solver.step(1)
    own = [b.data.ravel() for p in ("ip",) for b in changed.net.params[p]]
    assert np.array_equal(before[-sum(map(len, own)) :], np.concatenate(own))
    assert not np.array_equal(weights(same), weights(changed))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("net", "other.prototxt"), ("type", "SGD"), ("random_seed", 9), ("replicas", 2),
        ("solver_mode", 0), ("device_id", 1),
    ],
)  # fmt: skip
def test_what_comes_too_late_is_refused_by_name(case, field, value):
    solver = caffe.get_solver(case)
    before = proto.SolverParameter()
    before.CopyFrom(solver.param)
    setattr(solver.param, field, value)
    with pytest.raises(caffe.ConfigError, match=rf"solver\.param: {field} cannot be changed"):
        solver.step(1)
    assert solver.iter == 0
    solver.param.CopyFrom(before)
    solver.step(1)
    assert solver.iter == 1


def test_values_that_no_solver_can_have_are_refused(case):
    solver = caffe.get_solver(case)
    solver.step(1)
    lr = solver.lr
    for field, value, message in (
        ("base_lr", -1, "base_lr is -1"),
        ("lr_policy", "triangluar", "did you mean triangular"),
        ("max_lr", float("nan"), "max_lr is nan"),
        ("iter_size", 0, "iter_size is 0"),
    ):
        before = getattr(solver.param, field)
        setattr(solver.param, field, value)
        with pytest.raises(caffe.ConfigError, match=f"solver.param: .*{message}"):
            solver.step(1)
        setattr(solver.param, field, before)
    assert (solver.iter, solver.lr) == (1, lr)
    solver.param.test_iter.append(3)
    solver.param.test_interval = 2
    with pytest.raises(caffe.ConfigError, match="test_iter has 1 values, but the solver has 0"):
        solver.step(1)


def test_debug_info_needs_every_blob(case):
    solver = caffe.get_solver(case, fuse=True)
    solver.param.debug_info = True
    with pytest.raises(caffe.ConfigError, match="fuse=False"):
        solver.step(1)
