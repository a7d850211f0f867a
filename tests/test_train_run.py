"""A run's folder, its resumption bit for bit, and how it ends in trouble."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from train_cases import SIZES, command, log_text, make_case, results

from pycaffe_clr import cli
from pycaffe_clr.errors import ConfigError, DataError
from pycaffe_clr.train import checkpoint, summary
from pycaffe_clr.train.recorder import Recorder
from pycaffe_clr.train.run import run
from pycaffe_clr.train.tables import read_table
from pycaffe_clr.weights import read_state, read_weights


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny solver and `whole`, a run of it that was never stopped."""
    folder = tmp_path_factory.mktemp("master")
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert run(str(make_case(folder).name), out="whole", threads=1).state == "finished"
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def case(master: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny solver's path; a copy of its folder is the working directory."""
    shutil.copytree(master, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "tiny.prototxt"


@pytest.fixture
def whole(case: Path) -> dict[str, object]:
    """What a run that is never stopped leaves."""
    return results(Path("whole"))


@pytest.fixture(autouse=True)
def no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take a second each: only tests that read the screen draw them."""
    if "capsys" not in request.fixturenames:
        monkeypatch.setattr(summary, "draw", lambda folder, record: False)


def test_a_run_leaves_everything_in_its_folder(case, capsys):
    assert run(str(case), out="out", threads=1, console=True).state == "finished"
    names = {path.name for path in Path("out").iterdir()}
    assert names == {
        ".lock", "curve.png", "metrics.csv", "net.prototxt", "run.json", "solver.prototxt",
        "tests.csv", "timings.csv", "tiny_iter_40.caffemodel", "tiny_iter_40.solverstate",
        "tiny_iter_60.caffemodel", "tiny_iter_60.solverstate", "train.log",
    }  # fmt: skip
    said = capsys.readouterr().out
    assert said.rstrip().endswith("out/curve.png")
    assert "as Caffe logs it" in said and "the whole test set: 10 records" in said
    record = json.loads(Path("out/run.json").read_text())
    assert record["state"] == "finished" and record["iteration"] == 60 and record["seed"] == 3
    assert record["curve"] == "curve.png"
    assert record["tests"][0]["last"]["iteration"] == 60
    assert record["tests"][0]["whole"]["exact"]
    metrics = read_table("out/metrics.csv")
    assert list(metrics) == ["iteration", "loss", "smoothed_loss", "lr", "momentum"]
    assert metrics["iteration"].tolist() == list(range(60))
    np.testing.assert_allclose(metrics["smoothed_loss"][9], metrics["loss"][6:10].mean(), 1e-6)
    np.testing.assert_allclose(metrics["lr"][25], 0.1, 1e-6)
    tests = read_table("out/tests.csv")
    assert tests["iteration"].tolist() == [0, 20, 40, 60]
    assert list(tests) == ["iteration", "net", "accuracy", "loss"]


def test_the_log_has_caffes_lines_in_caffes_order(case):
    run(str(case), out="out", max_iter=20, threads=1)
    lines = [line for line in log_text(Path("out")).splitlines() if " Iteration " in line]
    assert [line.split("] ")[1].split(" (?")[0] for line in lines[:6]] == [
        "Iteration 0, Testing net (#0)",
        "Iteration 0",
        "Iteration 0, lr = 0.01, momentum = 0.95, weight decay = 0.0005",
        "Iteration 10",
        "Iteration 10, lr = 0.046, momentum = 0.91, weight decay = 0.0005",
        "Iteration 20, loss = " + lines[5].split("loss = ")[1],
    ]
    assert "Testing net (#0)" in lines[6]


def test_the_resolved_files_train_the_same(case, whole):
    record = Path("whole/solver.prototxt")
    assert 'net: "net.prototxt"' in record.read_text()
    Path("net.prototxt").rename("moved.prototxt")
    assert run(str(record), out="again", threads=1).state == "finished"
    again = results(Path("again"))
    assert again["metrics"] == whole["metrics"] and again["tests"] == whole["tests"]


def test_equal_seeds_give_equal_runs_and_others_do_not(case, whole):
    run(str(case), out="same", threads=1)
    assert results(Path("same")) == whole
    run(str(case), out="other", seed=4, threads=1)
    assert results(Path("other"))["metrics"] != whole["metrics"]
    assert json.loads(Path("other/run.json").read_text())["seed"] == 4


def test_a_run_killed_at_any_moment_resumes_bit_for_bit(case, tmp_path):
    flags = ["--max-iter", "400", "--threads", "1", "--set", "snapshot=150", "--no-whole-test"]
    settings = {"max_iter": 400, "sets": {"snapshot": 150}}
    assert run(str(case), out="straight", threads=1, **settings).state == "finished"
    seen = 0
    for attempt in range(3):
        process = command("run", case, *flags, "--out", "out", "--resume",
                          "--checkpoint-every", "0", cwd=tmp_path)  # fmt: skip
        end = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < end:
            try:
                at = checkpoint.read(tmp_path / "out/checkpoint.bin").header["iteration"]
            except DataError:
                at = 0
            if at > seen + 30 * attempt:
                break
        process.send_signal(signal.SIGINT if attempt == 2 else signal.SIGKILL)
        _, said = process.communicate()
        if process.returncode == 0:
            break
        assert process.returncode == (130 if attempt == 2 else -signal.SIGKILL), said
        seen = at
    assert seen > 0
    assert run(out="out", resume=True).state == "finished"
    out, straight = results(Path("out")), results(Path("straight"))
    # A snapshot was made where Ctrl-C came.
    names = set(straight)
    assert names <= set(out)
    for name in names - {"log"}:
        assert out[name] == straight[name], name
    assert out["log"] == straight["log"]
    states = [read_state(f"{name}/tiny_iter_400.solverstate") for name in ("out", "straight")]
    for a, b in zip(states[0].history, states[1].history, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("stop_in_test", [False, True])
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(case, whole, monkeypatch, stop_in_test):
    stop = Recorder.testing if stop_in_test else Recorder.rows

    def stopping(self, *args):
        stop(self, *args)
        if self.session.iteration >= 40:
            self.session.stop()

    name = "testing" if stop_in_test else "rows"
    monkeypatch.setattr(Recorder, name, stopping)
    run(str(case), out="out", threads=1)
    record = json.loads(Path("out/run.json").read_text())
    assert record["state"] == "stopped" and record["iteration"] >= 40
    stopped_at = record["iteration"]
    assert Path(f"out/tiny_iter_{stopped_at}.caffemodel").exists()
    monkeypatch.setattr(Recorder, name, stop)
    assert run(str(case), out="out", resume=True).state == "finished"
    again = results(Path("out"))
    if stopped_at != 40:
        del again[f"tiny_iter_{stopped_at}.caffemodel"]
    assert again == whole


def test_a_resume_without_a_checkpoint_starts_from_the_beginning(case, whole, monkeypatch):
    def fail(self, rows):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "rows", fail)
        with pytest.raises(KeyboardInterrupt):
            run(str(case), out="out", threads=1)
    assert not Path("out/checkpoint.bin").exists()
    assert run(out="out", resume=True).state == "finished"
    assert results(Path("out")) == whole


def test_a_run_with_two_histories_goes_on_from_its_checkpoint(case, monkeypatch):
    sets = {"type": "Adam", "base_lr": 0.01, "lr_policy": "fixed", "cyclical_momentum": ""}
    settings = {"sets": sets, "threads": 1, "max_iter": 45}
    assert run(str(case), out="straight", **settings).state == "finished"
    rows = Recorder.rows

    def stopping(self, made):
        rows(self, made)
        if self.session.iteration >= 42:
            self.session.stop()

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "rows", stopping)
        assert run(str(case), out="out", **settings).state == "stopped"
    assert checkpoint.read(Path("out/checkpoint.bin")).header["type"] == "Adam"
    assert run(out="out", resume=True).state == "finished"
    states = [read_state(f"{name}/tiny_iter_45.solverstate") for name in ("out", "straight")]
    for a, b in zip(states[0].history, states[1].history, strict=True):
        assert np.array_equal(a, b)
    assert results(Path("out"))["metrics"] == results(Path("straight"))["metrics"]


@pytest.mark.parametrize("kind", ["Adam", "SGD"])
def test_a_checkpoint_of_another_rule_is_refused(case, monkeypatch, kind):
    rows = Recorder.rows

    def stopping(self, made):
        rows(self, made)
        self.session.stop()

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "rows", stopping)
        run(str(case), out="out", threads=1)
    solver = Path("out/solver.prototxt")
    solver.write_text(solver.read_text().replace("Nesterov", kind))
    message = rf"checkpoint\.bin: is of a Nesterov solver, this is one of {kind}"
    with pytest.raises(DataError, match=message):
        run(out="out", resume=True)


def test_a_snapshot_goes_on_where_the_run_was(case, whole):
    state = "whole/tiny_iter_40.solverstate"
    assert run(str(case), out="out", snapshot=state, threads=1).state == "finished"
    assert results(Path("out"))["tiny_iter_60.caffemodel"] == whole["tiny_iter_60.caffemodel"]
    run(str(case), out="caffe", snapshot=state, threads=1, caffe_resume=True)
    assert results(Path("caffe"))["tiny_iter_60.caffemodel"] != whole["tiny_iter_60.caffemodel"]


def test_weights_start_a_run(case, whole):
    run(
        str(case),
        out="out",
        weights="whole/tiny_iter_60.caffemodel",
        max_iter=1,
        sets={"base_lr": 0, "max_lr": 0, "test_iter": "", "snapshot": 1},
    )
    before = read_weights("whole/tiny_iter_60.caffemodel")
    after = read_weights("out/tiny_iter_1.caffemodel")
    assert np.array_equal(before["ip"][0], after["ip"][0])


def test_existing_runs_are_not_overwritten_unasked(case, whole):
    with pytest.raises(ConfigError, match=r"finished at iteration 60\). Replace it by --overwrite"):
        run(str(case), out="whole")
    assert results(Path("whole")) == whole
    assert run(str(case), out="whole", resume=True).state == "finished"
    assert results(Path("whole")) == whole
    run(str(case), out="whole", overwrite=True, max_iter=10)
    assert len(read_table("whole/metrics.csv")["iteration"]) == 10
    assert not Path("whole/tiny_iter_60.caffemodel").exists()


def test_a_run_never_overwrites_its_own_sources(case):
    Path("solver.prototxt").write_text(case.read_text())
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="own source"):
            run("solver.prototxt", out=".", overwrite=overwrite)


def test_folders_are_numbered_without_out(case):
    for _ in range(2):
        run(str(case), max_iter=1, whole_test=False)
    assert sorted(path.name for path in Path("runs").iterdir()) == ["tiny", "tiny-2"]


def test_a_resume_keeps_what_the_run_was_started_with(case, whole):
    with pytest.raises(ConfigError, match="started with seed 3"):
        run(out="whole", resume=True, seed=9)
    with pytest.raises(ConfigError, match="no run lies there"):
        run(out="nowhere", resume=True)


def test_other_threads_on_resume_are_warned_of(case, monkeypatch, caplog):
    stop = Recorder.rows

    def stopping(self, rows):
        stop(self, rows)
        self.session.stop()

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "rows", stopping)
        run(str(case), out="out", threads=1)
    run(out="out", resume=True, threads=2)
    assert "threads were 1 and are 2" in caplog.text


def test_a_failed_start_leaves_nothing(case):
    Path("tiny/train/data.mdb").unlink()
    with pytest.raises(DataError, match="tiny/train"):
        run(str(case), out="out")
    assert not Path("out").exists()


def test_max_iter_must_be_known(case):
    case.write_text(case.read_text().replace("max_iter: 60\n", ""))
    with pytest.raises(ConfigError, match="max_iter"):
        run(str(case), out="out")
    assert run(str(case), out="out", max_iter=2).state == "finished"


def test_unused_placeholders_are_errors(case):
    with pytest.raises(ConfigError, match="-D xBS"):
        run(str(case), out="out", defines={"xBS": "3"})


def test_a_diverged_run_says_so_and_keeps_its_snapshots(case, capsys):
    flags = [
        "run",
        str(case),
        "--out",
        "out",
        "--set",
        "snapshot=1",
        "--set",
        "max_lr=1e30",
        "--set",
        "lr_policy=fixed",
        "--set",
        "base_lr=1e30",
        "--set",
        "test_iter=",
    ]
    assert cli.main(flags) == 1
    assert "diverged" in capsys.readouterr().err
    assert json.loads(Path("out/run.json").read_text())["state"] == "diverged"
    assert Path("out/tiny_iter_1.caffemodel").exists()
    assert Path("out/curve.png").exists()
    rows = read_table("out/metrics.csv")
    assert np.isfinite(rows["loss"]).all()


def test_a_full_disk_keeps_the_earlier_snapshot(case, monkeypatch):
    replace = os.replace

    def full(source, target):
        if "iter_40" in str(target):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(DataError, match="iter_40.caffemodel.*No space left"):
            run(str(case), out="out", threads=1, sets={"snapshot": 20}, checkpoint_every=0)
    assert json.loads(Path("out/run.json").read_text())["state"] == "failed"
    assert read_weights("out/tiny_iter_20.caffemodel")
    assert not list(Path("out").glob("*iter_40*"))
    assert run(out="out", resume=True).state == "finished"
    assert Path("out/tiny_iter_40.caffemodel").exists()


def test_damaged_checkpoints_are_errors(case, whole, monkeypatch):
    with monkeypatch.context() as patch:
        rows = Recorder.rows
        patch.setattr(Recorder, "rows", lambda s, r: (rows(s, r), s.session.stop()))
        run(str(case), out="out", threads=1)
    path = Path("out/checkpoint.bin")
    good = path.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(60):
        bad = bytearray(good)
        if generator.random() < 0.3:
            bad = bad[: generator.integers(0, len(bad))]
        else:
            bad[generator.integers(0, len(bad))] ^= 1 << int(generator.integers(0, 8))
        path.write_bytes(bad)
        with pytest.raises(DataError, match="checkpoint.bin"):
            checkpoint.read(path)
    with pytest.raises(DataError):
        run(out="out", resume=True)
    path.write_bytes(good)
    assert run(out="out", resume=True).state == "finished"


def test_small_test_databases_are_warned_of(case):
    run(str(case), out="out", max_iter=1, threads=1)
    assert f"reads 12 records (test_iter times batch_size) of a database of {SIZES['test']}" in (
        log_text(Path("out"))
    )


def test_replicas_multiply_the_batch(case, capsys):
    run(str(case), out="out", max_iter=2, replicas=3, console=True)
    assert "2 iterations of 18 samples" in capsys.readouterr().out
    assert "replicas: 3" in Path("out/solver.prototxt").read_text()


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_two_threads_repeat_themselves_too(case, device):
    for name in ("a", "b"):
        run(str(case), out=name, threads=2, max_iter=15, device=device)
    assert results(Path("a")) == results(Path("b"))


def test_the_reference_backend_gives_the_same_for_any_number_of_threads(case):
    for threads in (1, 2):
        run(str(case), out=str(threads), threads=threads, max_iter=15, device="reference")
    assert results(Path("1")) == results(Path("2"))
