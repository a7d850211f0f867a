"""A run from Python: its callbacks, its result, and what is written down."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from train_cases import results

import pycaffe_clr
from pycaffe_clr import cli
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.train import checkpoint, facts
from pycaffe_clr.train import events as told
from pycaffe_clr.train.events import Listener, Row, Snapshot
from pycaffe_clr.train.lock import take_lock
from pycaffe_clr.train.spec import RunSpec
from pycaffe_clr.weights import read_weights

QUICK = {"threads": 1, "curve": False, "whole_test": False}


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
