"""A run from Python: its settings, callbacks, result, and what is written down."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from train_cases import log_text, make_case, results

import pycaffe_clr
from pycaffe_clr import cli
from pycaffe_clr.errors import ConfigError, DataError, EngineError
from pycaffe_clr.prototxt import filter_net, read_net, read_solver, solver_nets
from pycaffe_clr.train import checkpoint, facts
from pycaffe_clr.train import events as told
from pycaffe_clr.train.events import Listener, Row, Snapshot
from pycaffe_clr.train.lock import take_lock
from pycaffe_clr.train.spec import RunSpec, flags
from pycaffe_clr.weights import read_weights

QUICK = {"threads": 1, "curve": False, "whole_test": False}


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny solver's path; its folder is the working directory."""
    monkeypatch.chdir(tmp_path)
    return make_case(tmp_path)


# --- settings -----------------------------------------------------------------------------------


def test_settings_survive_json_and_the_command_line(monkeypatch):
    spec = RunSpec(
        solver="s.prototxt", out=Path("o"), batch=32, filler="msra", whole_test=False, seed=0,
        sets={"base_lr": 0.5, "test_iter": [1, 2]}, net_sets={"force_backward": True},
        defines={"a": "b c"}, checkpoint_every=1,
    )  # fmt: skip
    assert spec.out == "o" and spec.sets == {"base_lr": "0.5", "test_iter": "1,2"}
    assert spec.net_sets == {"force_backward": "true"} and spec.checkpoint_every == 1.0
    for data in (spec.to_json(), json.dumps(spec.to_json())):
        assert RunSpec.from_json(data) == spec
    assert RunSpec().to_json() == {}
    seen = []
    monkeypatch.setattr("pycaffe_clr.train.run.train", lambda spec, **_: seen.append(spec) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main([*spec.words(), "--debug"])
    assert seen == [spec]


def test_every_setting_has_a_flag(capsys):
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    said = capsys.readouterr().out
    assert all(flag.name in said for flag in flags().values() if flag.name.startswith("-"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threads": 0}, "threads must be 1 or more, not 0"),
        ({"threads": 10**9}, "threads must be at most 1024"),
        ({"batch": 10**12}, "batch must be at most 2147483647"),
        ({"seed": -1}, "seed must be 0 or more, not -1"),
        ({"batch": 2.5}, "batch takes a whole number, not 2.5"),
        ({"seed": "x"}, "seed takes a whole number"),
        ({"max_iter": True}, "max_iter takes a whole number"),
        ({"resume": 1}, "resume takes True or False"),
        ({"solver": 3}, "solver takes text or a path"),
        ({"sets": ["a=1"]}, "sets takes a mapping"),
        ({"checkpoint_every": float("nan")}, "checkpoint_every takes"),
        ({"resume": True, "overwrite": True}, "exclude each other"),
        ({"weights": "a", "snapshot": "b"}, "exclude each other"),
    ],
)
def test_wrong_settings_are_told_by_name(settings, message):
    with pytest.raises(ConfigError, match=message):
        RunSpec(**settings)


def test_unknown_settings_are_errors():
    with pytest.raises(ConfigError, match="no setting sole; did you mean solver"):
        RunSpec.from_json({"sole": 1})
    with pytest.raises(ConfigError, match="no setting batches; did you mean batch"):
        pycaffe_clr.run("lenet_sample", batches=3)
    with pytest.raises(ConfigError, match="callbacks takes a list"):
        pycaffe_clr.run("lenet_sample", callbacks=print)


# --- callbacks and the result -------------------------------------------------------------------


def test_a_run_says_nothing_and_returns_what_came_out(case, capfd):
    result = pycaffe_clr.run(case, out="out", threads=1, curve=False)
    assert capfd.readouterr() == ("", "")
    assert (result.state, result.iteration, result.max_iter) == ("finished", 60, 60)
    assert (result.batch, result.images, result.epochs) == (6, 37, pytest.approx(60 * 6 / 37))
    assert result.metrics["iteration"].tolist() == list(range(60))
    assert result.test()["iteration"].tolist() == [0, 20, 40, 60]
    assert result.final_accuracy == result.test()["accuracy"][-1] <= result.best_accuracy
    assert 0 <= result.whole_accuracy <= 1 and not result.diverged and result.final
    assert result.weights == Path("out/tiny_iter_60.caffemodel") and result.log.is_file()
    assert result.train_loss == result.metrics["smoothed_loss"][-1]
    assert result.train_loss == pytest.approx(result.record["train_loss"], rel=1e-8)
    again = pycaffe_clr.read_run("out")
    assert again.record == result.record and again.state == "finished"
    # Resumed once more it is only read; on the screen, where there is one, it is told.
    screen = (Path("screen")).open("w+")
    resumed = pycaffe_clr.run(case, out="out", resume=True, console=screen)
    screen.close()
    assert resumed.record == result.record
    assert Path("screen").read_text() == "out: this run is finished; --overwrite starts it anew\n"


def test_callbacks_see_all_rows_tests_and_snapshots(case):
    class Watcher(Listener):
        def __init__(self) -> None:
            self.seen: list[str] = []

        def started(self, run):
            self.seen.append(f"started at {run.iteration} in {run.folder.path}")

        def tested(self, result):
            self.seen.append(f"test {result.iteration}")

        def ended(self, result):
            self.seen.append(result.state)

    events, watcher = [], Watcher()
    result = pycaffe_clr.run(case, out="out", callbacks=[events.append, watcher], **QUICK)
    rows = [event for event in events if isinstance(event, Row)]
    assert [row.iteration for row in rows] == list(range(60))
    np.testing.assert_allclose([row.loss for row in rows], result.metrics["loss"], rtol=1e-8)
    shown = [row.iteration for row in rows if row.outputs]
    assert shown == [0, 10, 20, 30, 40, 50]
    assert [e.iteration for e in events if isinstance(e, told.TestResult)] == [0, 20, 40, 60]
    snapshots = [event for event in events if isinstance(event, Snapshot)]
    assert [each.iteration for each in snapshots] == [40, 60]
    assert result.record["net_files"] == [str(case.parent / "net.prototxt")]
    assert all(each.weights.is_file() and each.state.is_file() for each in snapshots)
    assert watcher.seen == [
        "started at 0 in out", "test 0", "test 20", "test 40", "test 60", "finished",
    ]  # fmt: skip


def test_a_callback_changes_gradients(case):
    """At every iteration, those that are displayed too; the rest of the run stays as it was."""

    class Freeze(Listener):
        def started(self, run):
            self.norms: list[float] = []
            self.before = [
                run.session.net.param_data(i).copy() for i in run.session.net.learnable()
            ]

        def gradients(self, net):
            diffs = [net.param_diff(index) for index in net.learnable()]
            self.norms.append(sum(float(np.square(diff).sum()) for diff in diffs))
            for diff in diffs:
                diff[...] = 0

    freeze, sets = Freeze(), {"weight_decay": 0}
    result = pycaffe_clr.run(case, out="out", callbacks=[freeze], max_iter=25, sets=sets, **QUICK)
    assert result.iteration == 25 and len(freeze.norms) == 25 and min(freeze.norms) > 0
    assert result.metrics["iteration"].tolist() == list(range(25))
    weights = read_weights(result.weights)
    np.testing.assert_array_equal(weights["conv"][0], freeze.before[0])
    np.testing.assert_array_equal(weights["ip"][1], freeze.before[-1])


def stop_at_test(event):
    """Ends a run once it is tested at iteration 20."""
    return "stop: enough" if isinstance(event, told.TestResult) and event.iteration == 20 else None


def test_a_callback_ends_a_run_for_good(case):
    result = pycaffe_clr.run(case, out="out", callbacks=[stop_at_test], threads=1, curve=False)
    assert (result.state, result.reason, result.iteration) == ("ended early", "enough", 20)
    assert result.test()["iteration"].tolist() == [0, 20] and result.final
    assert np.isfinite(result.whole_accuracy) and result.weights is not None
    assert not Path("out/checkpoint.bin").exists()
    before = results(Path("out"))
    assert pycaffe_clr.run(out="out", resume=True).state == "ended early"
    assert results(Path("out")) == before
    # Up to there it is the run that was not stopped.
    pycaffe_clr.run(case, out="whole", max_iter=60, **QUICK)
    whole = (Path("whole/metrics.csv")).read_text()
    assert whole.startswith(Path("out/metrics.csv").read_text())


def test_an_error_in_a_callback_leaves_a_run_that_can_go_on(case):
    def fail(event):
        if isinstance(event, told.TestResult) and event.iteration == 40:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError):
        pycaffe_clr.run(case, out="out", callbacks=[fail], checkpoint_every=0, **QUICK)
    failed = pycaffe_clr.read_run("out")
    assert (failed.state, failed.reason) == ("failed", "ZeroDivisionError: mine")
    assert pycaffe_clr.run(out="out", resume=True, curve=False).state == "finished"
    pycaffe_clr.run(case, out="whole", **QUICK)
    assert results(Path("out")) == results(Path("whole"))


def test_what_is_no_callback_is_an_error(case):
    with pytest.raises(ConfigError, match="callback 3: is no function"):
        pycaffe_clr.run(case, out="out", callbacks=[3])
    assert not Path("out").exists()


def test_a_diverged_run_returns_and_is_final(case):
    sets = {"base_lr": 1e30, "lr_policy": "fixed", "test_iter": ""}
    result = pycaffe_clr.run(case, out="out", sets=sets, checkpoint_every=0, **QUICK)
    assert result.diverged and result.final and 0 < result.iteration < 60
    assert f"iteration {result.iteration}: the loss is" in result.reason
    assert pycaffe_clr.run(case, out="out", resume=True).diverged
    assert cli.main(["run", str(case), "--out", "out", "--resume"]) == 1


def test_times_add_up_over_resumes(case):
    straight = pycaffe_clr.run(case, out="straight", **QUICK)
    timings = straight.timings
    assert list(timings) == ["iteration", "seconds", "test_seconds"]
    assert {0, 1, 11, 20, 40, 60} <= set(timings["iteration"])
    assert (np.diff(timings["seconds"]) >= 0).all()
    assert straight.seconds == pytest.approx(timings["seconds"][-1], abs=0.01)
    assert straight.seconds > timings["test_seconds"][-1] > 0
    assert straight.images_per_second > 0
    assert straight.seconds_at(np.array([60]))[0] == timings["seconds"][-1]

    def kill(event):
        if isinstance(event, told.TestResult) and event.iteration == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pycaffe_clr.run(case, out="out", callbacks=[kill], checkpoint_every=0, **QUICK)
    before = pycaffe_clr.read_run("out").seconds
    resumed = pycaffe_clr.run(out="out", resume=True, curve=False)
    assert resumed.seconds > before * 0.9
    assert resumed.timings["iteration"].tolist() == sorted(set(timings["iteration"]))
    assert results(Path("out")) == results(Path("straight"))


def test_a_run_of_a_version_that_kept_no_times_goes_on(case):
    def kill(event):
        if isinstance(event, told.TestResult) and event.iteration == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pycaffe_clr.run(case, out="out", callbacks=[kill], checkpoint_every=0, **QUICK)
    path, record = Path("out/checkpoint.bin"), json.loads(Path("out/run.json").read_text())
    point = checkpoint.read(path)
    del point.header["clock"], point.header["files"]["timings.csv"]
    checkpoint.write(path, point)
    Path("out/timings.csv").unlink()
    for name in ("spec", "batch", "images", "epochs", "parameters", "settings", "first_iteration"):
        del record[name]
    Path("out/run.json").write_text(json.dumps(record))
    result = pycaffe_clr.run(case, out="out", resume=True, curve=False)
    assert (result.state, result.batch, result.images) == ("finished", 6, 37)
    assert result.record["first_iteration"] == 40 == result.timings["iteration"][0]
    pycaffe_clr.run(case, out="whole", **QUICK)
    assert results(Path("out")) == results(Path("whole"))


def test_the_record_says_where_a_run_comes_from(case):
    Path(".git/refs/heads").mkdir(parents=True)
    Path(".git/HEAD").write_text("ref: refs/heads/main\n")
    Path(".git/refs/heads/main").write_text("1234abcd\n")
    record = pycaffe_clr.run(case, out="out", seed=5, curve=False, max_iter=10).record
    assert record["git_commit"] == "1234abcd" and record["host"] == facts.host()
    assert (
        record["command"] == f"pycaffe_clr run {case} --out out --max-iter 10 --seed 5 --no-curve"
    )
    assert record["argv"] == sys.argv and record["parameters"] == 4 * 18 + 9 + 8 + 3 * 144 + 3
    assert record["peak_memory_bytes"] > 1 << 20
    train, test = record["data"]
    assert (train["source"], test["source"]) == ("tiny/train", "tiny/test")
    assert train["bytes"] == Path("tiny/train/data.mdb").stat().st_size
    assert train["crc32_of"] == "the whole file" and len(train["crc32"]) == 8
    assert RunSpec.from_json(record["spec"]).seed == 5
    assert record["tests"][0]["best"]["iteration"] in (0, 10)
    json.loads(Path("out/run.json").read_text(), parse_constant=pytest.fail)


def test_checksums_of_large_files_are_of_both_ends(tmp_path):
    path = tmp_path / "large"
    path.write_bytes(bytes(5 << 20))
    found = facts.checksum(path)
    assert found["crc32_of"] == "its first and last 256 KiB" and found["bytes"] == 5 << 20
    with path.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"x")
    assert facts.checksum(path)["crc32"] != found["crc32"]
    assert facts.checksum(tmp_path / "none") == {}


def test_a_run_whose_process_is_gone_does_not_read_as_running(case):
    states = []

    def look(event):
        if isinstance(event, told.TestResult):
            states.append(pycaffe_clr.read_run("out").state)
            if event.iteration == 40:
                os.replace("out/run.json", "kept")
                shutil.copy("kept", "out/run.json")

    pycaffe_clr.run(case, out="out", callbacks=[look], **QUICK)
    assert set(states) == {"running"}
    shutil.copy("kept", "out/run.json")
    killed = pycaffe_clr.read_run("out")
    assert killed.state == "killed" and not killed.final and killed.iteration == 60
    with take_lock(Path("out")):
        assert pycaffe_clr.read_run("out").state == "running"
        with pytest.raises(ConfigError, match="another process is writing"):
            pycaffe_clr.run(case, out="out", resume=True)


# --- the nets -----------------------------------------------------------------------------------


def written(folder: str) -> tuple[str, str]:
    """The nets that the resolved files of a run give: (TRAIN, TEST)."""
    with contextlib.chdir(folder):
        nets = solver_nets(read_solver("solver.prototxt"))
    return str(filter_net(nets.train)), str(filter_net(nets.tests[0]))


def test_the_nets_that_were_trained_are_written_down(case):
    trained = []

    class Keep:
        def started(self, run):
            session = run.session
            trained.append((str(session.train.param), str(session.tests[0].param)))

    changes = {"batch": 5, "test_batch": 2, "filler": "xavier", "replicas": 2,
               "net_sets": {"layer.ip.param.0.lr_mult": 2}}  # fmt: skip
    text = Path("net.prototxt").read_text()
    net = text.replace('name: "ip" type', 'name: "ip" param { } type').replace(
        '{ type: "msra" }', '{ type: "gaussian" std: 0.01 } bias_filler { type: "constant" }'
    )
    Path("net.prototxt").write_text(net.replace("bias_term: false ", ""))
    result = pycaffe_clr.run(case, out="out", callbacks=[Keep()], **QUICK, **changes)
    assert written("out") == trained[0]
    train, test = (text for text in trained[0])
    assert "batch_size: 5" in train and "batch_size: 2" in test and "lr_mult: 2" in train
    assert "std" not in train and "msra" not in train and train.count('"xavier"') == 2
    assert 'bias_filler {\n      type: "constant"' in train
    assert result.batch == 10
    # Gone or changed, the net's file has no part in a resume.
    Path("net.prototxt").unlink()
    pycaffe_clr.run("out/solver.prototxt", out="again", **QUICK)
    assert Path("again/metrics.csv").read_bytes() == Path("out/metrics.csv").read_bytes()
    with pytest.raises(ConfigError, match="started with batch 5, which a resume cannot change"):
        pycaffe_clr.run(out="out", resume=True, batch=6)


def test_a_resume_trains_what_was_written(case):
    def kill(event):
        if isinstance(event, told.TestResult) and event.iteration == 40:
            raise KeyboardInterrupt

    changes = {"batch": 4, "filler": "xavier"}
    pycaffe_clr.run(case, out="whole", **changes, **QUICK)
    with pytest.raises(KeyboardInterrupt):
        pycaffe_clr.run(case, out="out", callbacks=[kill], checkpoint_every=0, **changes, **QUICK)
    Path("net.prototxt").write_text("nothing that could be read")
    assert pycaffe_clr.run(case, out="out", resume=True, curve=False, **changes).state == "finished"
    assert results(Path("out")) == results(Path("whole"))


def test_another_net_takes_the_place_of_the_solvers(case):
    other = Path("net.prototxt").read_text().replace("num_output: 4", "num_output: 5")
    Path("other.prototxt").write_text(other)
    pycaffe_clr.run(case, out="out", net="other", max_iter=1, **QUICK)
    assert "num_output: 5" in Path("out/net.prototxt").read_text()
    assert "from net file: other" in log_text(Path("out"))
    with pytest.raises(ConfigError, match="net lenet_sampel: net file is not .*lenet_sample"):
        pycaffe_clr.run(case, out="x", net="lenet_sampel")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"filler": "msar"}, 'filler "msar" is unknown; known: constant, '),
        ({"net_sets": {"layer.ip.inner_product_param.num_outputs": 3}}, "--set-net layer.ip"),
        ({"net_sets": {"layer.data.top": "x"}}, "is the name of several; give the number"),
    ],
)
def test_changes_that_do_not_fit_are_errors(case, settings, message):
    with pytest.raises(ConfigError, match=message):
        pycaffe_clr.run(case, out="out", **settings)
    assert not Path("out").exists()


LAYERS = """
net_param {
  layer { name: "in" type: "Input" top: "in" input_param { shape { dim: 3 dim: 2 } } }
  layer { name: "dummy" type: "DummyData" top: "dummy" include { phase: TRAIN }
          dummy_data_param { num: 3 channels: 1 height: 1 width: 1 } }
  layer { name: "memory" type: "MemoryData" top: "m" top: "l" include { phase: TEST }
          memory_data_param { batch_size: 3 channels: 1 height: 1 width: 1 } }
}
base_lr: 1 lr_policy: "fixed" max_iter: 1 test_iter: 1 test_interval: 1
"""


def changed(text: str, **settings: object):
    from pycaffe_clr.prototxt import NetChanges, parse_solver

    return solver_nets(parse_solver(text), changes=NetChanges(**settings))


def test_batches_of_all_kinds_of_data_layers():
    nets = changed(LAYERS, batch=7)
    layers = {layer.name: layer for layer in nets.train.layer}
    assert layers["in"].input_param.shape[0].dim == [7, 2]
    assert layers["dummy"].dummy_data_param.num == [7]
    assert layers["memory"].memory_data_param.batch_size == 3
    with pytest.raises(ConfigError, match="layer 'in' is in TRAIN and in TEST.*7 and of 2"):
        changed(LAYERS, batch=7, test_batch=2)
    with pytest.raises(ConfigError, match="no layer of .* in TRAIN has a batch"):
        changed('net_param { } base_lr: 1 lr_policy: "fixed"', batch=7)
    with pytest.raises(ConfigError, match="no layer of .* has a weight_filler"):
        changed(LAYERS, filler="msra")


@pytest.mark.parametrize("name", ["mine.prototxt", "lenet_sample.prototxt"])
def test_a_copied_solver_finds_the_shipped_nets(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(pycaffe_clr.catalog.find_solver("lenet_sample"), name)
    flags = ["--threads", "1", "--no-whole-test", "--no-curve", "--max-iter", "1"]
    assert cli.main(["run", name, *flags, "--set", "net=lenet_sample"]) == 0
    assert cli.main(["show", name]) == 0
    assert "431,080 parameters" in capsys.readouterr().out
    text = Path(name).read_text().replace("max_iter: 1250", "max_iter: 1")
    Path(name).write_text(text.replace("prototxt/lenet_sample.prototxt", "lenet_sample"))
    assert cli.main(["train", "--solver", name, "--threads", "1"]) == 0
    assert read_net("runs/" + Path(name).stem + "/net.prototxt").name == "LeNet"


def test_a_solver_whose_tests_cannot_be_is_warned_of(case):
    case.write_text(case.read_text().replace("test_iter: 3\n", ""))
    line = case.read_text().splitlines().index("test_interval: 20") + 1
    pycaffe_clr.run(case, out="out", max_iter=1, **QUICK)
    assert f"{case}:{line}:1: test_interval is set, but test_iter is not" in (log_text(Path("out")))


def test_weights_are_evaluated_on_the_whole_test_set(case):
    # A display in the end, which Caffe makes after the snapshot, would move BatchNorm's statistics.
    result = pycaffe_clr.run(case, out="out", threads=1, curve=False, sets={"display": 7})
    found = pycaffe_clr.evaluate("out/net.prototxt", result.weights)
    whole = result.record["tests"][0]["whole"]["outputs"]
    assert found == pytest.approx(whole, rel=1e-5) and found["accuracy"] == result.whole_accuracy
    Path("inputs.prototxt").write_text(
        'layer { name: "in" type: "Input" top: "in" input_param { shape { dim: 1 } } }'
    )
    with pytest.raises(DataError, match="in TEST it reads 0 databases"):
        pycaffe_clr.evaluate("inputs.prototxt", result.weights)


# --- logs, threads, processes, signals ----------------------------------------------------------


def test_the_log_does_not_depend_on_the_caller(case, monkeypatch, caplog):
    monkeypatch.setenv("PYCAFFE_CLR_DATA", str(case.parent))
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    logger = logging.getLogger("pycaffe_clr")
    before = logger.level, logger.propagate, logger.handlers[:]
    pycaffe_clr.run(case, out="api", max_iter=1, **QUICK)
    flags = ["--threads", "1", "--no-curve", "--no-whole-test", "--max-iter", "1"]
    assert cli.main(["run", str(case), "--out", "cli", *flags]) == 0
    assert log_text(Path("api")) == log_text(Path("cli"))
    assert "database tiny/train: using" in log_text(Path("api"))
    assert (logger.level, logger.propagate, logger.handlers) == before
    # The caller, who did not ask for notes, has none.
    assert "using" not in caplog.text


def test_runs_in_two_threads_keep_their_lines_apart(case):
    for name, count in (("a", 30), ("b", 40)):
        text = case.read_text().replace('"net.prototxt"', f'"{name}.net"')
        Path(f"{name}.prototxt").write_text(text + f"stepvalue: {count}\n")
        shutil.copy("net.prototxt", f"{name}.net")
    pycaffe_clr.run("a.prototxt", out="alone", **QUICK)
    meet = threading.Barrier(2)

    class Meet:
        def started(self, run):
            meet.wait(20)

    threads = [
        threading.Thread(
            target=pycaffe_clr.run, args=(f"{name}.prototxt",),
            kwargs={"out": name, "callbacks": [Meet()], **QUICK},
        )
        for name in "ab"
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results(Path("a")) == results(Path("alone"))
    assert "does not read stepvalue" in log_text(Path("b"))
    assert "a.prototxt" not in log_text(Path("b")) and "b.prototxt" not in log_text(Path("a"))


def test_threads_are_the_runs_own(case, one_thread):
    from pycaffe_clr.engine import ready_core

    result = pycaffe_clr.run(case, out="out", max_iter=1, threads=2, curve=False)
    assert result.record["threads"] == 2 and ready_core().threads() == 1


FORK = """
import multiprocessing, sys
import pycaffe_clr
def child():
    pycaffe_clr.run("tiny.prototxt", out="child", max_iter=2, threads=2, curve=False)
if __name__ == "__main__":
    pycaffe_clr.run("tiny.prototxt", out="parent", max_iter=2, threads=2, curve=False)
    process = multiprocessing.get_context(sys.argv[1]).Process(target=child)
    process.start()
    process.join(60)
    print(process.exitcode)
    process.kill()
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_forked_child_ends_in_an_error_and_a_spawned_one_works(case, method):
    Path("program.py").write_text(FORK)
    done = subprocess.run(
        [sys.executable, "program.py", method], capture_output=True, text=True, timeout=90
    )
    if method == "spawn":
        assert done.stdout.split() == ["0"], done.stderr
        assert pycaffe_clr.read_run("child").state == "finished"
    else:
        assert done.stdout.split() == ["1"] and not Path("child").exists()
        assert EngineError.__name__ in done.stderr and 'get_context("spawn")' in done.stderr


INTERRUPTED = """
import os, signal, sys
import pycaffe_clr
def interrupt(event):
    if type(event).__name__ == "Row" and event.iteration == 20:
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
before = signal.getsignal(signal.SIGINT)
try:
    pycaffe_clr.run("tiny.prototxt", out="out", callbacks=[interrupt], threads=1,
                    curve=False)
finally:
    assert signal.getsignal(signal.SIGINT) is before
    print(pycaffe_clr.read_run("out").state)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_stops_the_run_and_then_the_program(case, name):
    Path("program.py").write_text(INTERRUPTED)
    text = case.read_text().replace("max_iter: 60", "max_iter: 1000000")
    case.write_text(text.replace("snapshot: 40", ""))
    done = subprocess.run(
        [sys.executable, "program.py", name], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "stopped\n", done.stderr
    number = int(getattr(signal, name))
    assert pycaffe_clr.read_run("out").record["signal"] == number
    if name == "SIGTERM":
        assert done.returncode == 128 + number and done.stderr == ""
    else:
        assert done.stderr.endswith("KeyboardInterrupt\n")


def test_outside_the_main_thread_no_handler_is_set(case):
    handlers = []

    class Look:
        def started(self, run):
            handlers.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    settings = {"out": "out", "max_iter": 1, "callbacks": [Look()], **QUICK}
    thread = threading.Thread(target=pycaffe_clr.run, args=(case,), kwargs=settings)
    thread.start()
    thread.join(60)
    assert handlers == [before] and pycaffe_clr.read_run("out").state == "finished"
