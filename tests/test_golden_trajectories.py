"""Training runs go as real Caffe's did: losses, rates, tests, weights, log lines, resuming.

The bounds: 2e-4 of Caffe's value, or 20 times the rounding floor that was recorded
with the run (Caffe against itself, with other kernels for its matrix products).
"""

from __future__ import annotations

import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_data import BACKENDS, RUN_BOUND, files, need

from pycaffe_clr.engine import Records, build_net, ready_core
from pycaffe_clr.errors import DataError
from pycaffe_clr.prototxt import read_net, read_solver
from pycaffe_clr.train.events import Listener
from pycaffe_clr.train.log import CaffeLog
from pycaffe_clr.train.schedule import core_settings
from pycaffe_clr.train.session import Session
from pycaffe_clr.train.state import views
from pycaffe_clr.weights import load_weights, read_state, read_weights, write_state

pytestmark = pytest.mark.usefixtures("one_thread")

RUNS = {
    path.parent.name: path.parent
    for path in (folder / "run.json" for folder in files("trajectories", "*"))
    if path.is_file()
}
# These take seconds on one core; every other run takes a fraction of one. resnet56 is
# resnet56_lowlr at a high rate: chaotic in float32, so only its losses are worth a look.
SLOW = ("resnet56", "resnet56_lowlr", "cifar3", "lenet")
SMALL = [name for name in RUNS if name not in SLOW]
# How many iterations of a slow run are made: plans that keep every blob are slower.
KEPT_ITERATIONS = {"resnet56_lowlr": 5, "cifar3": 20, "lenet": 20}
REFERENCE_ITERATIONS = {"resnet56_lowlr": 2, "cifar3": 2, "lenet": 10}
DOUBLE_ITERATIONS = {"resnet56": 3, "resnet56_lowlr": 2, "cifar3": 3, "lenet": 10}


class Recorder(Listener):
    """What a run told."""

    def __init__(self) -> None:
        self.made: list[Any] = []
        self.tests: list[Any] = []

    def rows(self, rows) -> None:
        self.made += rows

    def tested(self, result) -> None:
        self.tests.append(result)


class Run:
    """A recorded run of Caffe, and a session with its settings and its start."""

    def __init__(
        self, name: str, monkeypatch: pytest.MonkeyPatch, folder: Path, **settings: Any
    ) -> None:
        self.path = RUNS[name]
        # Paths in the files count from the folder that holds `trajectories` and `data`.
        monkeypatch.chdir(self.path.parents[1])
        self.recorded = json.loads((self.path / "run.json").read_text())
        self.start = self.path.parent / self.recorded["net"] / "init.caffemodel"
        self.text = io.StringIO()
        self.recorder = Recorder()
        solver = read_solver(self.path / "solver.prototxt")
        self.session = Session(
            solver,
            path=self.path / "solver.prototxt",
            seed=1,
            folder=folder,
            log=CaffeLog(self.text),
            listener=self.recorder,
            **settings,
        )
        self.session.load(self.start)

    def floor(self, row: int) -> float:
        """Rounding floor of the loss: how far Caffe's own runs lie apart by then."""
        kinds = self.recorded["noise"].values()
        return max(max(kind["loss_absdiff"][: row + 1]) for kind in kinds)

    def weight_floor(self, key: str) -> float:
        return max(kind["weight_reldiff"].get(key, 0.0) for kind in self.recorded["noise"].values())


def allowed(value: float, floor: float) -> float:
    return max(RUN_BOUND * abs(value), 20 * floor)


def check_losses(run: Run, recorded: dict[str, Any]) -> None:
    made = run.recorder.made
    printed = dict(recorded["display_loss"])
    assert [row.iteration for row in made] == [row["iter"] for row in recorded["rows"]]
    first = recorded["rows"][0]["iter"]
    for row, want in zip(made, recorded["rows"], strict=True):
        floor = run.floor(row.iteration)
        where = f"iteration {row.iteration}"
        # The loss blob, which under iter_size holds the last part's loss.
        blob = dict(row.outputs)["loss"]
        assert abs(blob - want["loss"]) <= allowed(want["loss"], floor), where
        shown = printed[row.iteration]
        assert abs(row.smoothed - shown) <= allowed(shown, floor) + 5e-6 * abs(shown), where
        assert np.float32(row.lr) == np.float32(want["lr"]), where
        assert np.float32(row.momentum) == np.float32(want["momentum"]), where
    assert first == made[0].iteration


def check_tests(run: Run, recorded: dict[str, Any]) -> None:
    last = recorded["rows"][-1]["iter"]
    made = [test for test in run.recorder.tests if test.iteration <= last]
    assert [test.iteration for test in made] == [want["iter"] for want in recorded["tests"]]
    for test, want in zip(made, recorded["tests"], strict=True):
        floor = run.floor(min(test.iteration, len(recorded["rows"]) - 1))
        ours = dict(test.outputs)
        assert abs(ours["loss"] - want["loss"]) <= allowed(want["loss"], floor)
        # Six digits print. An image on the border between two classes may fall to either side:
        # none in the runs whose rounding floor is low, and as many as the loss moves elsewhere.
        borderline = 0.0 if floor < 1e-5 else 0.02 if floor < 2e-3 else 0.06
        assert abs(ours["accuracy"] - want["accuracy"]) <= borderline + 1e-6


def check_weights(run: Run, recorded_weights: dict[str, Any]) -> None:
    net = run.session.net
    before_norm = convolutions_before_batch_norm(net)
    checked = 0
    for layer in net.layers():
        for place, index in enumerate(layer["params"]):
            if place == 1 and layer["name"] in before_norm:
                continue
            key = f"{layer['name']}/{place}"
            want = np.asarray(recorded_weights[layer["name"]][place], np.float64)
            ours = np.asarray(net.param_data(index), np.float64).reshape(want.shape)
            apart = np.abs(ours - want).max() / np.abs(want).max()
            assert apart <= max(RUN_BOUND, 20 * run.weight_floor(key)), key
            checked += 1
    assert checked


def convolutions_before_batch_norm(net: Any) -> set[str]:
    """Convolutions whose bias BatchNorm subtracts again: rounding noise, and nothing else."""
    maker = {}
    found = set()
    for layer in net.layers():
        if layer["type"] == "BatchNorm":
            found.add(maker[layer["bottoms"][0]])
        for top in layer["tops"]:
            maker[top] = layer["name"]
    return found


def follow(
    name: str, backend: str, fuse: bool, monkeypatch, folder: Path, count: int | None = None
) -> None:
    """Make `count` iterations, or all, and compare what came of them."""
    run = Run(name, monkeypatch, folder, device=backend, fuse=fuse)
    recorded = dict(run.recorded)
    recorded["rows"] = recorded["rows"][:count]
    made = len(recorded["rows"])
    recorded["tests"] = [test for test in recorded["tests"] if test["iter"] < made]
    run.session.step(made)
    check_losses(run, recorded)
    check_tests(run, recorded)
    path = run.path / f"run_iter_{made}.caffemodel"
    if path.is_file():
        check_weights(run, read_weights(path))


@pytest.mark.parametrize("fuse", [False, True], ids=["kept", "fused"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", SMALL)
def test_a_run_goes_as_caffes_did(name, backend, fuse, monkeypatch, tmp_path):
    need(backend)
    follow(name, backend, fuse, monkeypatch, tmp_path)


# One of each rule, of clipping, and of several passes in an iteration.
RULES = (
    "v_sgd", "v_sgd_clip", "v_sgd_iter2", "v_nesterov", "v_adagrad", "v_rmsprop", "v_adadelta",
    "v_adam",
)  # fmt: skip


@pytest.mark.skipif("not config.getoption('--cuda-host')", reason="whole runs go there as well")
@pytest.mark.parametrize("name", [n for n in RULES if n in RUNS])
def test_the_first_iterations_go_as_caffes_did(name, monkeypatch, tmp_path):
    follow(name, "kernels", True, monkeypatch, tmp_path, 3)


@pytest.mark.parametrize("name", [n for n in SLOW if n in RUNS])
def test_a_larger_net_goes_as_caffes_did(name, monkeypatch, tmp_path):
    follow(name, "cpu", True, monkeypatch, tmp_path)


@pytest.mark.parametrize("name", [n for n in KEPT_ITERATIONS if n in RUNS])
def test_a_larger_net_with_all_blobs_kept(name, monkeypatch, tmp_path):
    follow(name, "cpu", False, monkeypatch, tmp_path, KEPT_ITERATIONS[name])


@pytest.mark.parametrize("name", [n for n in REFERENCE_ITERATIONS if n in RUNS])
def test_a_larger_net_on_the_reference_backend(name, monkeypatch, tmp_path):
    follow(name, "reference", True, monkeypatch, tmp_path, REFERENCE_ITERATIONS[name])


@pytest.mark.parametrize("name", [n for n in RUNS if (RUNS[n] / "double.json").is_file()])
def test_double_precision_follows_caffes_double(name, monkeypatch):
    """Without the noise of float32 both agree to eight digits: nothing hides below."""
    folder = RUNS[name]
    monkeypatch.chdir(folder.parents[1])
    recorded = json.loads((folder / "run.json").read_text())
    rows = json.loads((folder / "double.json").read_text())["rows"]
    rows = rows[: DOUBLE_ITERATIONS.get(name, 20)]
    start = folder.parent / recorded["net"]
    param = read_net(start / "net.prototxt")
    net, _ = build_net(
        param, phase=0, device="reference", dtype="float64", seed=1, records=Records()
    )
    load_weights(net, read_weights(start / "init.caffemodel"), "start")
    solver = ready_core().Solver(net, core_settings(read_solver(folder / "solver.prototxt")))
    for row in rows:
        solver.forward_backward()
        assert net.read("loss")[0] == pytest.approx(row["loss"], rel=2e-8), row["iter"]
        solver.apply_update()


# --- the first batch: every blob, every diff ------------------------------------------------------


def summary(array: Any) -> list[float]:
    flat = np.asarray(array, np.float64).ravel()
    return [flat.sum(), np.abs(flat).sum(), (flat**2).sum(), flat[0]]


# How far a diff of float32 lies from that of double precision, in Caffe as here: 56 layers of
# BatchNorm let rounding grow to 5e-3 and, where sums are cut up in another way, twice that.
FIRST_BOUND = {"resnet56": 2e-2}

FIRST = {p.name: p for p in files("trajectories", "*") if (p / "first_batch.json").is_file()}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", FIRST)
def test_the_first_batch_makes_the_same_blobs_and_diffs(name, backend, monkeypatch):
    need(backend)
    folder = FIRST[name]
    monkeypatch.chdir(folder.parents[1])
    recorded = json.loads((folder / "first_batch.json").read_text())
    net, _ = build_net(
        read_net(folder / "net.prototxt"), phase=0, device=backend, seed=1, records=Records()
    )
    load_weights(net, read_weights(folder / "init.caffemodel"), "start")
    before_norm = convolutions_before_batch_norm(net)
    net.clear_param_diffs()
    loss = net.forward()
    net.backward()
    assert loss == pytest.approx(recorded["loss"], rel=1e-5)
    params = {
        f"{layer['name']}/{place}": net.param_diff(index)
        for layer in net.layers()
        for place, index in enumerate(layer["params"])
        if layer["type"] != "BatchNorm" and not (place == 1 and layer["name"] in before_norm)
    }
    bound = FIRST_BOUND.get(name, 2e-4)
    fed = ("data", "label")
    kinds = [
        ("blob_data", {name: net.data(name) for name in recorded["blob_data"]}),
        ("blob_diff", {name: net.diff(name) for name in recorded["blob_diff"] if name not in fed}),
        ("param_diff", params),
    ]
    for kind, arrays in kinds:
        for key, array in arrays.items():
            check_summary(f"{kind} {key}", array, recorded[kind][key], bound)
    if (folder / "first_batch.npz").is_file():
        with np.load(folder / "first_batch.npz") as whole:
            for key, array in params.items():
                scale = max(np.abs(whole[key]).max(), 1e-12)
                assert np.abs(array - whole[key].reshape(array.shape)).max() <= bound * scale, key


def check_summary(what: str, array: Any, want: list[Any], bound: float) -> None:
    assert list(np.shape(array)) == want[4], what
    ours = summary(array)
    # A sum whose parts cancel is only as exact as the sum of their absolute values.
    size, square = max(want[1], 1e-6), max(want[2], 1e-12)
    assert abs(ours[0] - want[0]) <= bound * size, what
    assert abs(ours[1] - want[1]) <= bound * size, what
    assert abs(ours[2] - want[2]) <= 2 * bound * square, what
    largest = float(np.abs(array).max())
    assert abs(ours[3] - want[3]) <= bound * max(largest, abs(want[3])), what


# --- resuming and the log -------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_resumed_run_goes_as_caffes_did(backend, monkeypatch, tmp_path):
    need(backend)
    run = Run("v_multistep_snap", monkeypatch, tmp_path, device=backend, fuse=True)
    run.session.restore(run.path / "run_iter_10.solverstate", from_first_record=True)
    recorded = json.loads((run.path / "resume10.json").read_text())
    run.session.step(10)
    check_losses(run, recorded)
    check_tests(run, recorded)


# One of each rule, with the iteration of a snapshot of Caffe's.
SNAPSHOTS = {
    "v_multistep_snap": 10, "v_nesterov": 20, "v_adagrad": 20, "v_rmsprop": 20, "v_adadelta": 20,
    "v_adam": 20,
}  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("hdf5", [False, True], ids=["binary", "hdf5"])
@pytest.mark.parametrize("name", SNAPSHOTS)
def test_our_snapshot_holds_what_caffes_does(name, hdf5, backend, monkeypatch, tmp_path):
    need(backend)
    at = SNAPSHOTS[name]
    run = Run(name, monkeypatch, tmp_path, device=backend, fuse=True)
    run.session.param.snapshot_prefix = "run"
    run.session.param.snapshot_format = 0 if hdf5 else 1
    run.session.step(at)
    weights, state = run.session.snapshot()
    ours, caffes = read_state(state), read_state(run.path / f"run_iter_{at}.solverstate")
    assert (ours.iter, ours.current_step) == (caffes.iter, caffes.current_step)
    for a, b in zip(ours.history, caffes.history, strict=True):
        assert a.shape == b.shape and np.abs(a - b).max() <= 2e-4 * np.abs(b).max()
    theirs = read_weights(run.path / f"run_iter_{at}.caffemodel")
    ours_read = read_weights(weights)
    assert list(ours_read) == list(theirs)
    for name, arrays in theirs.items():
        for a, b in zip(ours_read[name], arrays, strict=True):
            assert a.shape == b.shape and np.abs(a - b).max() <= 2e-4 * np.abs(b).max()


# lenet_small, and nets with blobs that are read more than once.
@pytest.mark.parametrize("name", [n for n in ("v_adam", "cifar3", "resnet56_lowlr") if n in RUNS])
def test_saved_weights_are_caffes_file_byte_for_byte(name, monkeypatch, tmp_path):
    run = Run(name, monkeypatch, tmp_path, device="reference", fuse=True)
    run.session.param.snapshot_prefix = "run"
    (state,) = run.path.glob("run_iter_*.solverstate")
    run.session.restore(state)
    weights, state = run.session.snapshot()
    assert weights.read_bytes() == (run.path / weights.name).read_bytes()
    ours, caffes = read_state(state), read_state(run.path / state.name)
    assert (ours.iter, ours.current_step) == (caffes.iter, caffes.current_step)
    assert all(map(np.array_equal, ours.history, caffes.history))


@pytest.mark.parametrize("name", [name for name in SNAPSHOTS if name != "v_multistep_snap"])
def test_a_run_goes_on_bit_for_bit_from_its_snapshot(name, monkeypatch, tmp_path):
    """The histories and the number of the iteration, which Adam's correction reads, come back."""
    whole, first, second = (
        Run(name, monkeypatch, tmp_path, device="cpu", fuse=True) for _ in range(3)
    )
    whole.session.step(12)
    for run, hdf5, stop in ((first, True, 5), (second, False, 9)):
        run.session.param.snapshot_prefix = "run"
        run.session.param.snapshot_format = 0 if hdf5 else 1
        run.session.step(stop - run.session.iteration)
        _, state = run.session.snapshot()
        (second if run is first else run).session.restore(state)
    second.session.step(3)
    assert second.session.iteration == 12
    own, others = (views(run.session.net, run.session.core) for run in (whole, second))
    for key, array in own.items():
        assert np.array_equal(array, others[key]), key


def test_caffes_histories_arrive_at_their_parameters(monkeypatch, tmp_path):
    """All first histories come before all second ones."""
    run = Run("v_adam", monkeypatch, tmp_path, device="cpu", fuse=True)
    path = run.path / "run_iter_20.solverstate"
    run.session.restore(path)
    core, learned = run.session.core, run.session.net.learnable()
    arrays = read_state(path).history
    assert len(arrays) == 2 * len(learned)
    for k in range(2):
        for place, index in enumerate(learned):
            assert np.array_equal(core.history(index, k), arrays[k * len(learned) + place])
    # Of squares.
    assert all(core.history(index, 1).min() >= 0 for index in learned)
    assert any(core.history(index, 0).min() < 0 for index in learned)


def test_a_history_of_another_shape_is_refused_before_anything_changes(monkeypatch, tmp_path):
    run = Run("v_adam", monkeypatch, tmp_path, device="cpu", fuse=True)
    own = views(run.session.net, run.session.core)
    before = {key: array.copy() for key, array in own.items()}
    state = read_state(run.path / "run_iter_20.solverstate")
    state.learned_net = str(run.path / "run_iter_20.caffemodel")
    # The second history of a matrix, turned: as many values as there should be.
    number = next(k for k in range(8, 16) if state.history[k].ndim == 2)
    state.history[number] = state.history[number].T
    write_state(tmp_path / "turned.solverstate", state)
    with pytest.raises(DataError, match=rf"history {number}, of layer .* has shape \(") as refused:
        run.session.restore(tmp_path / "turned.solverstate")
    assert "turned.solverstate" in str(refused.value) and run.session.iteration == 0
    for key, array in own.items():
        assert np.array_equal(array, before[key])


@pytest.mark.parametrize(
    ("solver", "state", "message"),
    [
        ("v_sgd", "v_adam", r"has 16 histories, .* \(SGD\) keeps 1 for each of 8 parameters"),
        ("v_adam", "v_rmsprop", r"has 8 histories, .* \(Adam\) keeps 2 for each of 8"),
    ],
)
def test_a_state_of_another_rule_is_refused_before_anything_changes(
    solver, state, message, monkeypatch, tmp_path
):
    run = Run(solver, monkeypatch, tmp_path, device="cpu", fuse=True)
    own = views(run.session.net, run.session.core)
    before = {key: array.copy() for key, array in own.items()}
    with pytest.raises(DataError, match=message):
        run.session.restore(RUNS[state] / "run_iter_20.solverstate")
    assert run.session.iteration == 0
    for key, array in own.items():
        assert np.array_equal(array, before[key])


# Rates are of no account: how fast an iteration was. Prefetching restarts are logged by a thread.
_LINE = re.compile(r"^[IWE]\d+ [\d:.]+\s+\d+ \S+\] (.*)$")
_KEPT = re.compile(
    r"Iteration \d+, Testing|(Train|Test) net output|Iteration \d+ \(|Iteration \d+, lr = "
)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def story(text: str) -> list[str]:
    """The lines of a log that tell how the run went, without time and speed."""
    lines = [match.group(1) for match in map(_LINE.match, text.splitlines()) if match]
    kept = [line for line in lines if _KEPT.search(line)]
    return [re.sub(r"\(\S+ iter/s, \S+s/", "(", line) for line in kept]


def split_numbers(line: str) -> tuple[str, list[float]]:
    return _NUMBER.sub("#", line), [float(n) for n in _NUMBER.findall(line)]


@pytest.mark.parametrize("name", [n for n in SMALL if (RUNS[n] / "run.log").is_file()])
def test_the_log_tells_the_run_as_caffes_log_does(name, monkeypatch, tmp_path):
    run = Run(name, monkeypatch, tmp_path, device="cpu", fuse=True)
    run.session.step(len(run.recorded["rows"]))
    ours, caffes = story(run.text.getvalue()), story((run.path / "run.log").read_text())
    assert len(ours) == len(caffes)
    for mine, theirs in zip(ours, caffes, strict=True):
        if ", lr = " in theirs or "Testing" in theirs:
            assert mine == theirs
            continue
        (words, numbers), (their_words, their_numbers) = split_numbers(mine), split_numbers(theirs)
        assert words == their_words
        iteration = len(run.recorded["rows"]) - 1
        for a, b in zip(numbers, their_numbers, strict=True):
            assert math.isclose(a, b, rel_tol=2.1e-4, abs_tol=20 * run.floor(iteration)), theirs
