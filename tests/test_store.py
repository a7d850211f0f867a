"""Runs found over several roots: states, order, packed ones, and how fast."""

from __future__ import annotations

import gzip
import math
import shutil
import time
from pathlib import Path

import pytest
from run_cases import make_run

from pycaffe_clr.errors import DataError
from pycaffe_clr.experiments.store import Store, default_roots
from pycaffe_clr.train.lock import take_lock


def test_runs_come_in_the_protocols_order(tmp_path):
    for plan in ("run10", "file", "run2", "run1", "seed7"):
        make_run(tmp_path, "a", plan)
    (tmp_path / "a" / "empty").mkdir()
    (tmp_path / "nothing").mkdir()
    store = Store([tmp_path])
    assert [run.plan for run in store.runs("a")] == ["run1", "run2", "run10", "file", "seed7"]
    assert [run.plan for run in store.counted("a")] == ["run1", "run2", "run10"]
    assert store.settings() == ["a"] and store.runs("missing") == []
    assert store.run("a", "file").folder == tmp_path / "a" / "file"
    assert store.run("a", "run3") is None
    assert Store([tmp_path / "missing"]).settings() == []


def test_states_of_runs(tmp_path):
    for plan, state in (("run1", "finished"), ("run2", "running"), ("run3", "running"),
                        ("run4", "diverged"), ("run5", "stopped")):  # fmt: skip
        make_run(tmp_path, "a", plan, state)
    make_run(tmp_path, "a", "run6")
    (tmp_path / "a" / "run6" / "run.json").write_text("{")
    with take_lock(tmp_path / "a" / "run2"):
        runs = Store([tmp_path]).runs("a")
        assert [run.state for run in runs] == [
            "finished", "running", "killed", "diverged", "stopped", "unreadable"
        ]  # fmt: skip
        assert [run.final for run in runs] == [True, False, False, True, False, False]
    # Of a run on its way, or killed, the last whole row counts.
    assert [run.iteration for run in runs[:5]] == [100, 2, 2, 40, 40]
    assert runs[3].diverged and runs[0].max_iter == 100 and not runs[0].packed
    with pytest.raises(DataError, match=r"run\.json"):
        _ = runs[5].record


def test_a_net_that_is_lost_has_no_accuracy(tmp_path):
    """Caffe counts outputs that are no numbers as right: a diverged net tests at 1."""
    make_run(tmp_path, "a", "run1", "diverged")
    tests = tmp_path / "a" / "run1" / "tests.csv"
    tests.write_text("iteration,net,accuracy,loss\n0,0,0.125,2.5\n20,0,1,0.5\n40,0,1,nan\n")
    (run,) = Store([tmp_path]).runs("a")
    assert math.isnan(run.final_accuracy) and math.isnan(run.result().final_accuracy)
    assert run.result().best_accuracy == 1 and math.isnan(run.result().final_loss)
    assert run.result().test()["accuracy"][:2].tolist() == [0.125, 1]
    assert run.result().tests["accuracy"][-1] == 1


def test_accuracies_from_the_record_or_the_tests(tmp_path):
    make_run(tmp_path, "a", "run1", accuracy=0.75)
    make_run(tmp_path, "a", "run2", "running", accuracy=0.25)
    make_run(tmp_path, "a", "run3", "running")
    (tmp_path / "a" / "run3" / "tests.csv").write_text("iteration,net,accuracy,loss\n")
    make_run(tmp_path, "a", "run4", "running")
    (tmp_path / "a" / "run4" / "tests.csv").unlink()
    one, two, three, four = Store([tmp_path]).runs("a")
    assert one.final_accuracy == 0.75 and one.whole_accuracy == 0.74
    assert two.final_accuracy == 0.25 and math.isnan(two.whole_accuracy)
    assert math.isnan(three.final_accuracy) and math.isnan(four.final_accuracy)
    assert one.result().final_accuracy == 0.75 and one.result() is one.result()


def test_what_is_through_counts_before_what_lies_first(tmp_path):
    runs, results = tmp_path / "runs", tmp_path / "results"
    make_run(runs, "a", "run1", "stopped")
    make_run(runs, "a", "run2", accuracy=0.1)
    make_run(results, "a", "run1", packed={})
    make_run(results, "a", "run2", accuracy=0.2, packed={})
    make_run(results, "b", "run1", packed={})
    for name in ("metrics.csv", "tests.csv"):
        path = results / "b" / "run1" / name
        path.with_name(name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    store = Store([runs, results])
    assert [run.folder.parts[-3:] for run in store.runs("a")] == [
        ("results", "a", "run1"), ("runs", "a", "run2"),
    ]  # fmt: skip
    assert store.settings() == ["a", "b"] and store.runs("b")[0].packed
    assert len(store.runs("b")[0].result().tests["loss"]) == 2


def test_default_roots_are_those_that_are_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = default_roots()
    (tmp_path / "runs" / "report").mkdir(parents=True)
    (tmp_path / "solvers" / "results").mkdir(parents=True)
    assert default_roots()[:2] == [Path("runs/report"), Path("solvers/results")]
    assert default_roots()[2:] == before


def test_five_hundred_runs_in_less_than_two_seconds(tmp_path):
    make_run(tmp_path, "s0", "run1", versions={"numpy": "2.4.6"}, processor={"features": "a" * 999})
    first = tmp_path / "s0" / "run1"
    for number in range(1, 500):
        shutil.copytree(first, tmp_path / f"s{number // 5}" / f"run{number % 5 + 1}",
                        dirs_exist_ok=True)  # fmt: skip
    begin = time.perf_counter()
    store = Store([tmp_path])
    runs = [run for name in store.settings() for run in store.runs(name)]
    states = [(run.state, run.final_accuracy, run.iteration) for run in runs]
    assert time.perf_counter() - begin < 2
    assert len(states) == 500 and set(states) == {("finished", 0.9, 100)}
