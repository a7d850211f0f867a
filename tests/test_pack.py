"""Packed runs: what they keep, that they say nothing of the machine, and the page about them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from run_cases import make_run

from pycaffe_clr.cli import main
from pycaffe_clr.errors import ConfigError, DataError
from pycaffe_clr.experiments.manifest import load
from pycaffe_clr.experiments.outcome import time_of
from pycaffe_clr.experiments.pack import MAX_ROWS, interval_of, pack, thinned
from pycaffe_clr.experiments.results_page import page
from pycaffe_clr.experiments.store import Store
from pycaffe_clr.train.lock import take_lock
from pycaffe_clr.train.result import read_run


def table_with(count: int, every: int = 0) -> tuple[dict, dict]:
    at = np.arange(count, dtype=float)
    metrics = {"iteration": at, "loss": at**2, "smoothed_loss": at, "lr": at / count}
    tests = {"iteration": np.arange(0, count + 1, every or count, dtype=float)}
    return metrics, tests


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def text_of(path: Path, data: bytes) -> str:
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with long tables, in a root `runs`, that says much about where it was made."""
    place = tmp_path / "data"
    folder = make_run(
        tmp_path / "runs", "lenet_1cycle", "run1", max_iter=1406, iteration=3000,
        cwd=str(tmp_path), data_dir=str(place), host="machine7", curve="curve.png",
        solver=f"{tmp_path}/solvers/lenet_1cycle.prototxt", seed=3, threads=1,
        argv=["/usr/local/bin/pycaffe_clr", "run", "lenet_1cycle", "--out", str(tmp_path)],
        spec={"out": f"{tmp_path}/runs/x", "data_dir": str(place), "filler": "msra"},
        data={f"{place}/mnist_train_lmdb": {"sha256": "ab"}},
    )  # fmt: skip
    rows = "".join(f"{i},{i % 7},{i % 7},0.{i},0.9\n" for i in range(3000))
    (folder / "metrics.csv").write_text("iteration,loss,smoothed_loss,lr,momentum\n" + rows)
    tests = "".join(f"{i},0,0.5,1.5\n" for i in range(200, 3001, 200))
    (folder / "tests.csv").write_text("iteration,net,accuracy,loss\n" + tests)
    (folder / "train.log").write_text(
        "I0101 00:00:00.0 1 net.cpp:1] Initializing net from parameters:\nbatch_size: 4\n"
        f"I0101 00:00:00.0 1 x.py:1] database a/b: using {place}/a/b, see https://a.org/b/c\n"
        "I0101 00:00:00.0 1 solver.cpp:1] Iteration 0 (2 iter/s, 1s/1 iters), loss = 1\n"
        "I0101 00:00:00.0 1 solver.cpp:1] Iteration 0, lr = 1\n"
        f"I0101 00:00:09.0 1 x.cpp:1] Snapshotting to {folder}/x_iter_3000.solverstate\n"
        "I0101 00:00:09.5 1 solver.cpp:1] Iteration 2999, lr = 1\n"
    )
    (folder / "timings.csv").write_text("iteration,seconds,test_seconds\n0,0,0\n3000,9,1\n")
    (folder / "solver.prototxt").write_text('net: "net.prototxt"\n')
    (folder / "net.prototxt").write_text(f'source: "/elsewhere/on/{"x" * 5000}"\n')
    return folder


def test_a_packed_run_reads_as_the_run(run, tmp_path):
    target = tmp_path / "results"
    (packed,) = pack([], tmp_path / "runs", target)
    assert packed.state == "packed" and packed.size < 60_000
    folder = target / "lenet_1cycle" / "run1"
    assert sorted(path.name for path in folder.iterdir()) == [
        "metrics.csv.gz", "net.prototxt.gz", "run.json", "solver.prototxt", "tests.csv.gz",
        "timings.csv.gz", "train.log.gz",
    ]  # fmt: skip
    before, after = read_run(run), read_run(folder)
    assert (after.state, after.iteration, after.max_iter) == ("finished", 3000, 1406)
    assert after.final_accuracy == before.final_accuracy
    assert after.whole_accuracy == before.whole_accuracy
    for name, column in before.tests.items():
        assert after.tests[name].tolist() == column.tolist()
    assert len(after.metrics["iteration"]) <= MAX_ROWS
    assert after.metrics["iteration"][-1] == 2999
    assert after.record["packed"]["rows"] == 3000 and after.record["packed"]["interval"] == 4
    assert "means over 4 iterations" in after.record["packed"]["metrics"]
    # Every mean between two tests is as it was.
    for begin in range(0, 2800, 200):
        rows = slice(begin // 4, begin // 4 + 50)
        whole = before.metrics["loss"][begin : begin + 200].mean()
        assert after.metrics["loss"][rows].mean() == pytest.approx(whole, rel=1e-7)
    stored = Store([target]).runs("lenet_1cycle")[0]
    assert stored.packed
    (unpacked,) = Store([tmp_path / "runs"]).runs("lenet_1cycle")
    assert time_of(stored) == pytest.approx(time_of(unpacked), rel=1e-4)
    assert after.timings["seconds"].tolist() == [0, 9]


def test_nothing_names_the_machine(run, tmp_path):
    pack([], tmp_path / "runs", tmp_path / "results")
    folder = tmp_path / "results" / "lenet_1cycle" / "run1"
    for path in folder.iterdir():
        text = text_of(path, path.read_bytes())
        for word in (str(tmp_path), "machine7", "/usr", "/elsewhere"):
            assert word not in text, path.name
    record = json.loads((folder / "run.json").read_text())
    assert not {"cwd", "data_dir", "host", "curve"} & set(record)
    assert record["solver"] == "solvers/lenet_1cycle.prototxt"
    assert record["argv"][:3] == ["pycaffe_clr", "run", "lenet_1cycle"]
    assert record["spec"] == {"filler": "msra"}
    assert record["data"] == {"data/mnist_train_lmdb": {"sha256": "ab"}}
    log = gzip.decompress((folder / "train.log.gz").read_bytes()).decode()
    assert "database a/b: using data/a/b, see https://a.org/b/c\n" in log
    assert "(2 iter/s, 1s/1 iters)" in log and "Snapshotting to x_iter_3000.solverstate" in log


def test_equal_runs_give_equal_bytes(run, tmp_path):
    pack([], tmp_path / "runs", tmp_path / "one")
    pack(["lenet*"], tmp_path / "runs", tmp_path / "two")
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "one").rglob("*")}
    (again,) = pack([], tmp_path / "runs", tmp_path / "one")
    assert again.state == "unchanged"
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "one").rglob("*")}
    # Packing what is packed changes nothing but the place.
    pack([], tmp_path / "one", tmp_path / "three")
    assert files_of(tmp_path / "one") == files_of(tmp_path / "three")


def test_rows_are_thinned_between_tests():
    for count, every, interval in (
        (1000, 200, 1), (1406, 74, 2), (9277, 200, 10), (39062, 200, 40), (78125, 200, 100),
        (9277, 0, 10), (50_000, 30, 51),
    ):  # fmt: skip
        metrics, tests = table_with(count, every)
        assert interval_of(metrics, tests) == interval
        thin = thinned(metrics, interval)
        assert len(thin["iteration"]) <= MAX_ROWS
        assert (thin["iteration"][0], thin["iteration"][-1]) == (0, count - 1)
        assert (np.diff(thin["iteration"])[:-1] == interval).all()
        assert thin["lr"].tolist() == (thin["iteration"] / count).tolist()
        assert thin["loss"][-1] == (count - 1) ** 2
        first = metrics["loss"][:interval].mean()
        assert thin["loss"][0] == pytest.approx(first)
    assert interval_of({}, {}) == 1 and thinned({}, 1) == {}


def test_a_diverged_runs_last_losses_stay_no_numbers():
    metrics, _ = table_with(1200)
    metrics["loss"][-1] = np.nan
    thin = thinned(metrics, 2)
    assert np.isnan(thin["loss"][-1]) and np.isfinite(thin["loss"][:-1]).all()


def test_what_is_not_through_is_not_packed(tmp_path):
    runs, target = tmp_path / "runs", tmp_path / "results"
    make_run(runs, "a", "run1", "stopped")
    make_run(runs, "a", "run2", "running")
    make_run(runs, "a", "run3", "diverged")
    make_run(runs, "a", "run4")
    (runs / "a" / "run4" / "run.json").write_text("no")
    make_run(runs, "a", "run5")
    (runs / "a" / "run5" / "metrics.csv").write_text("iteration,loss\n1,x\n")
    states = {packed.run.plan: packed for packed in pack([], runs, target)}
    assert [p.state for p in states.values()] == [
        "unfinished", "unfinished", "packed", "unreadable", "unreadable"
    ]  # fmt: skip
    assert states["run1"].reason == "stopped at 40 of 100 iterations"
    assert "run.json" in states["run4"].reason and "metrics.csv" in states["run5"].reason
    assert [path.name for path in (target / "a").iterdir()] == ["run3"]
    with take_lock(runs / "a" / "run2"):
        pack([], runs, target, partial=True)
    found = {run.plan: run for run in Store([target]).runs("a")}
    assert [found[plan].state for plan in ("run1", "run2", "run3")] == [
        "stopped", "stopped", "diverged"
    ]  # fmt: skip
    assert found["run2"].record["reason"] == "packed while it ran" and found["run2"].iteration == 2
    # Killed: no process says so.
    states = {packed.run.plan: packed for packed in pack([], runs, target, partial=True)}
    assert Store([target]).run("a", "run2").state == "killed"
    # A run that is begun anew does not replace the one that is through.
    make_run(tmp_path / "anew", "a", "run3", "stopped")
    (kept,) = pack([], tmp_path / "anew", target, partial=True)
    assert kept.state == "kept" and Store([target]).run("a", "run3").state == "diverged"


def test_wrong_names_and_folders(run, tmp_path):
    runs = tmp_path / "runs"
    with pytest.raises(ConfigError, match="no run of resnet.*lenet_1cycle"):
        pack(["resnet*"], runs, tmp_path / "results")
    with pytest.raises(ConfigError, match="is where the packed runs go"):
        pack([], runs, runs)
    with pytest.raises(DataError, match="no such folder"):
        pack([], tmp_path / "nowhere", tmp_path / "results")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        pack([], runs, tmp_path / "file")


def test_the_page_lists_what_lies_beside_it(tmp_path, capsys):
    runs, target = tmp_path / "runs", tmp_path / "results"
    for number in (1, 2):
        make_run(runs, "lenet_1cycle", f"run{number}", accuracy=0.991 + 0.001 * number, seed=number,
                 max_iter=1406, iteration=1406, seconds=61, batch=512, threads=1,
                 processor={"model": "CPU"}, spec={"filler": "msra"})  # fmt: skip
    make_run(runs, "mine", "run1", accuracy=0.5)
    args = ["experiment", "pack", "--from", str(runs), "--to", str(target)]
    assert main(args) == 0
    assert "3 packed" in capsys.readouterr().out
    text = (target / "README.md").read_text()
    assert text == page(target, load())
    assert "| 99.25 ± 0.03 | 99.250 ± 0.071 | 2 |" in text
    assert "| [mine](mine) |  | 1 |" in text
    assert (
        "| [lenet_1cycle/run2](lenet_1cycle/run2) | finished | 1,406 | 512 | msra | 2 | 99.30 | "
        "98.30 | 61 s | CPU, 1 thread |"
    ) in text
    assert main([*args, "resnet*"]) == 1
    assert "holds no run of resnet*" in capsys.readouterr().err
