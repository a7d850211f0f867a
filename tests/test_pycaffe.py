"""pycaffe's solvers and module functions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from train_cases import make_case

import pycaffe_clr as caffe
from pycaffe_clr.engine import ready_core
from pycaffe_clr.prototxt.validate import TYPES
from pycaffe_clr.pycaffe.settings import Settings, fresh_seed
from pycaffe_clr.train.run import run


@pytest.fixture(autouse=True)
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Path:
    """The tiny solver; its folder is the working directory, one thread computes."""
    monkeypatch.chdir(tmp_path)
    # What module functions set here is of no concern to later tests.
    monkeypatch.setattr(Settings, "seed", None)
    monkeypatch.setattr(Settings, "device", "cpu")
    return make_case(tmp_path)


def test_get_solver_follows_the_files_type(case):
    solver = caffe.get_solver(str(case))
    assert isinstance(solver, caffe.NesterovSolver) and solver.iter == 0
    assert solver.param.max_iter == 60 and len(solver.test_nets) == 1
    assert isinstance(caffe.SGDSolver(str(case)), caffe.SGDSolver)


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_has_a_class_and_trains(case, kind):
    plain = [line for line in case.read_text().splitlines() if "momentum" not in line]
    case.write_text("\n".join(plain).replace('"Nesterov"', f'"{kind}"'))
    solver = caffe.get_solver(case)
    assert type(solver) is getattr(caffe, f"{kind}Solver")
    before = solver.net.params["ip"][0].data.copy()
    solver.step(2)
    assert np.isfinite(solver.net.params["ip"][0].data).all()
    assert not np.array_equal(before, solver.net.params["ip"][0].data)


def test_the_core_knows_the_types_that_the_schema_names():
    assert tuple(ready_core().solver_types()) == TYPES


def test_a_class_refuses_what_its_rule_cannot_use(case):
    with pytest.raises(caffe.ConfigError, match="momentum cannot be used with type AdaGrad"):
        caffe.AdaGradSolver(case)


def test_steps_change_the_weights_that_the_test_net_shares(case):
    solver = caffe.NesterovSolver(str(case))
    before = solver.net.params["ip"][0].data.copy()
    solver.step(3)
    assert solver.iter == 3
    assert not np.array_equal(before, solver.net.params["ip"][0].data)
    test = solver.test_nets[0]
    assert np.array_equal(test.params["ip"][0].data, solver.net.params["ip"][0].data)
    test.forward()
    assert test.blobs["accuracy"].data.shape == ()
    assert solver.net.blobs["conv"].data.shape == (6, 4, 6, 6)


def test_weights_written_from_python_count(case):
    solver = caffe.SGDSolver(str(case))
    solver.net.params["ip"][0].data[...] = 0
    solver.net.params["ip"][1].data[...] = 0
    solver.net.forward()
    assert float(solver.net.blobs["loss"].data) == pytest.approx(np.log(3), rel=1e-5)


def test_solve_is_a_run_without_its_folder(case):
    run(str(case), out="out", threads=1, whole_test=False)
    solver = caffe.get_solver(case, fuse=True)
    solver.solve()
    assert solver.iter == 60
    assert Path("elsewhere/tiny_iter_60.caffemodel").read_bytes() == (
        Path("out/tiny_iter_60.caffemodel").read_bytes()
    )


def test_snapshot_and_restore(case):
    solver = caffe.get_solver(case)
    solver.step(2)
    solver.snapshot()
    other = caffe.get_solver(case, seed=8)
    other.restore("elsewhere/tiny_iter_2.solverstate")
    assert other.iter == 2 and other.lr == solver.lr and other.momentum == solver.momentum
    for name, blobs in solver.net.params.items():
        for mine, theirs in zip(blobs, other.net.params[name], strict=True):
            assert np.array_equal(mine.data, theirs.data)
    with pytest.raises(caffe.DataError):
        other.restore("elsewhere/tiny_iter_2.caffemodel")


def test_callbacks_come_before_an_iteration_and_before_its_update(case):
    solver = caffe.get_solver(case)
    seen = []
    solver.add_callback(lambda: seen.append("start"), lambda: seen.append("gradients"))
    solver.step(2)
    assert seen == ["start", "gradients"] * 2


def test_callbacks_read_and_change_gradients(case):
    """Half the gradient at twice the rate is the same step: momentum, decay and all."""
    case.write_text(case.read_text().replace('"1cycle"', '"fixed"') + "iter_size: 2\n")
    plain, halved = caffe.get_solver(case), caffe.get_solver(case)
    halved.param.base_lr *= 2
    halved.param.weight_decay /= 2
    diffs = [blob for blobs in halved.net.params.values() for blob in blobs]

    def halve():
        assert any(blob.diff.any() for blob in diffs)
        for blob in diffs:
            blob.diff[...] *= 0.5

    halved.add_callback(lambda: None, halve)
    plain.step(3)
    halved.step(3)
    for name in ("conv", "ip"):
        np.testing.assert_array_equal(
            plain.net.params[name][0].data, halved.net.params[name][0].data
        )


def test_what_a_callback_raises_comes_through_and_the_solver_goes_on(case):
    solver = caffe.get_solver(case)

    def fail():
        if solver.iter == 2:
            raise KeyError("my own mistake")

    solver.add_callback(lambda: None, fail)
    with pytest.raises(KeyError, match="my own mistake") as failure:
        solver.step(5)
    assert failure.traceback[-1].name == "fail"
    assert solver.iter == 2
    before = solver.net.params["ip"][0].data.copy()
    solver._callbacks.clear()
    solver.step(1)
    assert solver.iter == 3 and not np.array_equal(before, solver.net.params["ip"][0].data)


def test_gradients_may_be_changed_within_runs_of_the_core_solver(case):
    solver = caffe.get_solver(case)
    solver.param.weight_decay = 0
    solver._changes.follow()
    core, weights = solver._session.core, solver.net.params["ip"][0]
    seen: list[int] = []

    def clear():
        seen.append(core.iteration)
        if core.iteration == 4:
            raise ZeroDivisionError("in a hook")
        for blobs in solver.net.params.values():
            for blob in blobs:
                blob.diff[...] = 0

    before = weights.data.copy()
    core.run(3, on_gradients=clear)
    np.testing.assert_array_equal(weights.data, before)
    with pytest.raises(ZeroDivisionError, match="in a hook") as failure:
        core.run(3, on_gradients=clear)
    assert failure.traceback[-1].name == "clear"
    assert seen == [0, 1, 2, 3, 4] and core.iteration == 4
    np.testing.assert_array_equal(weights.data, before)
    losses, stopped, diverged = core.run(2)
    assert len(losses) == 2 and core.iteration == 6 and not stopped and not diverged
    assert not np.array_equal(weights.data, before)


def test_schedules_are_plain_numbers(case):
    schedule = caffe.Schedule(case)
    assert schedule.lr(0) == pytest.approx(0.01) and schedule.momentum(25) == pytest.approx(0.85)
    assert isinstance(schedule.lr(3), float)


def test_messages_are_reached_as_pycaffes_scripts_reach_them():
    blob = caffe.proto.caffe_pb2.BlobProto()
    blob.data.append(0.5)
    assert caffe.proto.caffe_pb2.BlobProto.FromString(blob.SerializeToString()) == blob
    assert caffe.proto.caffe_pb2.TEST == caffe.TEST
    with pytest.raises(AttributeError, match="no_such"):
        caffe.proto.caffe_pb2.no_such  # noqa: B018


def test_module_functions():
    caffe.set_mode_cpu()
    with pytest.raises(caffe.ConfigError, match="cuda"):
        caffe.set_mode_gpu()
    caffe.set_device(0)
    caffe.set_random_seed(4)
    assert fresh_seed() == 4
    with pytest.raises(caffe.ConfigError):
        caffe.set_random_seed(-1)
    assert (caffe.TRAIN, caffe.TEST) == (0, 1)
    assert "Convolution" in caffe.layer_type_list()
    assert "Net" in dir(caffe) and isinstance(caffe.__version__, str)
    with pytest.raises(AttributeError, match="nothing_such"):
        caffe.nothing_such  # noqa: B018
