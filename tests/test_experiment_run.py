"""The runs of the report's settings: what is chosen, branches, small scales, status."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import math
import time
from pathlib import Path

import pytest
from train_cases import make_case

from pycaffe_clr import cli
from pycaffe_clr.catalog import find_solver
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.experiments import scale
from pycaffe_clr.experiments.board import LiveBoard
from pycaffe_clr.experiments.estimate import Estimates, Measured, measured_runs
from pycaffe_clr.experiments.jobs import Event, Job
from pycaffe_clr.experiments.manifest import load
from pycaffe_clr.experiments.outcome import is_whole, outcome_of
from pycaffe_clr.experiments.pack import pack_run
from pycaffe_clr.experiments.queue import fitting, make_jobs, run_settings
from pycaffe_clr.experiments.status import lines, progress
from pycaffe_clr.experiments.store import Store
from pycaffe_clr.prototxt import read_solver
from pycaffe_clr.train.result import read_run
from pycaffe_clr.train.spec import RunSpec

BRANCH, BASE = "cifar3_branch_wd3e-3", "cifar3_fixed_wd1e-3"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data but what the test makes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYCAFFE_CLR_DATA", raising=False)


def write_record(folder: Path, state: str, **values: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    record = {"state": state, "name": folder.parent.name, "max_iter": 100, **values}
    (folder / "run.json").write_text(json.dumps(record))


def test_a_setting_is_run_by_its_protocol(tmp_path):
    jobs = make_jobs(["lenet_1cycle", ("lenet_1cycle_batch128", "run2")], tmp_path / "root")
    assert [job.name for job in jobs] == [
        *(f"lenet_1cycle/run{k}" for k in (1, 2, 3, 4)),
        "lenet_1cycle_batch128/run2",
    ]
    assert [job.spec.filler for job in jobs[:4]] == ["xavier", "msra"] * 2
    assert jobs[4].spec.batch == 136 and jobs[4].spec.seed == 2 and jobs[4].spec.resume
    assert jobs[4].spec.out == str(tmp_path / "root" / "lenet_1cycle_batch128" / "run2")
    with pytest.raises(ConfigError, match="has no run 'run9'; it has: run1, run2"):
        make_jobs([("lenet_1cycle", "run9")], tmp_path)
    with pytest.raises(ConfigError, match="'lenet_1cycel' is no setting .* lenet_1cycle"):
        make_jobs(["lenet_1cycel"], tmp_path)


def test_branches_come_with_their_bases(tmp_path):
    jobs = make_jobs([(BRANCH, "run4"), (BASE, "run4"), (BRANCH, "run1")], tmp_path)
    names = [f"{BASE}/run4", f"{BRANCH}/run4", f"{BASE}/run1", f"{BRANCH}/run1"]
    assert [job.name for job in jobs] == names
    assert [job.after for job in jobs] == [None, names[0], None, names[2]]
    assert jobs[1].spec.snapshot == str(tmp_path / names[0] / f"{BASE}_iter_5000.solverstate")


def test_a_branch_runs_from_the_snapshot_of_its_base_at_a_small_scale(tmp_path):
    outcomes = run_settings([(BRANCH, "run4")], scale=0.002, jobs=1, threads=1, curve=False)
    assert [o.state for o in outcomes] == ["finished", "finished"]
    root = Path("runs/report-scale0.002")
    base, branch = (read_run(root / name / "run4") for name in (BASE, BRANCH))
    assert base.max_iter == 20 and branch.metrics["iteration"][0] == 10
    assert branch.record["snapshot"].endswith(f"{BASE}_iter_10.solverstate")
    assert branch.record["labels"] == {"scaled": "0.002"}
    assert (root / "data/examples/cifar10/mean.binaryproto").is_file()
    (run,) = Store([root]).runs(BASE)
    assert run.scaled == "0.002"
    # Real runs and scaled ones do not mix, in folders, packs or tables.
    assert pack_run(run, tmp_path / "packed").state == "scaled"
    assert not is_whole(run, load().settings[BASE])
    write_record(Path("trial") / BASE / "run1", "diverged", labels={"scaled": "0.1"})
    assert outcome_of(load().settings[BASE], Store(["trial"])).n == 0
    with pytest.raises(ConfigError, match="holds a run scaled by 0.002; for one in full give"):
        make_jobs([(BASE, "run4")], root)
    with pytest.raises(ConfigError, match="scaled by 0.002; for one scaled by 0.1 give"):
        make_jobs([(BASE, "run4")], root, scale=0.1)
    write_record(Path("real") / BASE / "run4", "stopped")
    with pytest.raises(ConfigError, match="holds a run in full; for one scaled by 0.002 give"):
        make_jobs([(BASE, "run4")], "real", scale=0.002)


def test_a_scaled_schedule_keeps_its_shape():
    settings = load().settings
    for name in ("cifar3_step", "cifar3_1cycle", "resnet56_range", "lenet_inv"):
        solver = read_solver(find_solver(name))
        sets = scale.scaled_sets(solver, 0.02)
        small = read_solver(find_solver(name), sets=sets)
        assert small.max_iter == max(20, round(0.02 * settings[name].max_iter))
        for field in ("stepsize", "snapshot"):
            if getattr(solver, field) > 0:
                assert getattr(small, field) == pytest.approx(0.02 * getattr(solver, field), abs=1)
        for value, full in zip(small.stepvalue, solver.stepvalue, strict=True):
            assert value == pytest.approx(0.02 * full, abs=1)
        if len(solver.cyclical_momentum):
            lowest, stepsize = small.cyclical_momentum
            assert lowest == solver.cyclical_momentum[0]
            assert stepsize == pytest.approx(0.02 * solver.cyclical_momentum[1], abs=1)
        assert 4 <= small.max_iter / small.test_interval
        assert small.test_iter[0] == max(2, round(0.02 * solver.test_iter[0]))
    with pytest.raises(ConfigError, match="--scale 2: expected a number above 0 and at most 1"):
        scale.check(2)


def test_small_data_are_made_only_where_real_ones_are_missing(tmp_path):
    small = tmp_path / "small"
    assert scale.small_data(small, "mnist", None, 0.02) == small
    assert scale.small_data(tmp_path / "other", "mnist", small, 0.02) is None
    assert not (tmp_path / "other").exists()
    assert scale.small_data(small, "mnist_sample", None, 0.02) is None


def job(name: str, seconds: float, after: str | None = None) -> Job:
    spec = RunSpec(solver="x", out=f"nowhere/{name}")
    return Job(name=name, spec=spec, seconds=seconds, after=after)


def test_the_cheapest_runs_that_fit_are_taken(tmp_path):
    jobs = [job("a", 50), job("b", 10), job("c", 20), job("d", 30), job("e", math.nan)]
    assert [j.name for j in fitting(jobs, 60, 1)] == ["b", "c", "d"]
    assert [j.name for j in fitting(jobs, 60, 2)] == ["b", "c", "d"]
    assert [j.name for j in fitting(jobs, 70, 2)] == ["b", "c", "d", "a"]
    # What is done costs nothing and stays in the list; a branch waits for its base.
    write_record(tmp_path / "nowhere/b", "finished")
    branches = [*jobs[:4], job("f", 5, "b"), job("g", 5, "d"), job("h", 5, "a")]
    assert [j.name for j in fitting(branches, 60, 1)] == ["b", "f", "c", "d", "g"]
    with pytest.raises(ConfigError, match="no missing run fits into 5 s: the cheapest, c, takes"):
        fitting(jobs, 5, 2)


def test_times_follow_the_finished_runs_of_the_machine(tmp_path):
    setting = load().settings["lenet_1cycle"]
    assert Estimates().seconds("lenet", 12000) == 1
    assert math.isnan(Estimates().seconds("a net of the user's", 12000))
    # This machine is half as fast with LeNet, so it is taken to be with others.
    slow = Estimates(
        [Measured("lenet", 6000, 300), Measured("lenet", 1, 100), Measured("lenet", 9e9, 200)]
    )
    assert slow.seconds("lenet", 12000) == 2
    assert slow.seconds("cifar3", 2400) == 2
    assert slow.memory("lenet") == 300 and slow.memory("cifar3") == 0
    run = tmp_path / "root" / "lenet_1cycle"
    write_record(run / "run1", "finished", seconds=100, peak_memory_bytes=7)
    write_record(run / "run2", "stopped", seconds=1)
    (found,) = measured_runs(Store([tmp_path / "root"]), [setting])
    assert found == Measured("lenet", setting.work / 100, 7)
    jobs = make_jobs(["lenet_1cycle"], tmp_path / "root")
    assert sum(j.seconds for j in jobs) == pytest.approx(400) and jobs[0].memory == 7


def test_status_of_500_runs_in_less_than_two_seconds(tmp_path, capsys):
    root = tmp_path / "root"
    settings = list(load().settings.values())
    written = 0
    for setting in settings:
        for plan in setting.counted:
            folder = root / setting.name / plan.name
            write_record(folder, "finished", iteration=100, first_iteration=0)
            (folder / "metrics.csv").write_text("iteration,loss\n" + "1,2\n" * 1000)
            written += 1
    assert written >= 500
    name = settings[0].name
    folder = root / name / "run1"
    write_record(folder, "running", first_iteration=0)
    (folder / "metrics.csv").write_text("iteration,loss\n39,0.5\n40,0.")
    (folder / "timings.csv").write_text("iteration,seconds,test_seconds\n20,60,5\n")
    write_record(root / name / "run2", "running")  # its process is gone
    write_record(root / name / "run3", "failed")
    write_record(root / name / "run4", "diverged")
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        begin = time.perf_counter()
        found = progress(settings, root)
        assert time.perf_counter() - begin < 2
        assert cli.main(["experiment", "status", name, "--root", str(root)]) == 0
    said = capsys.readouterr().out.splitlines()
    first = f"{name}   0/{len(settings[0].runs)}  run1 at 40/100, 3 min left"
    assert said[0] == first
    assert [line.strip() for line in said[1:4]] == ["run2 killed", "run3 failed", "run4 diverged"]
    assert said[4] == (
        f"0 of {len(settings[0].runs)} runs finished, 1 running, 1 killed, 1 failed, 1 diverged"
    )
    everything = lines(found)
    assert max(map(len, everything)) <= 80 and len(everything) > len(settings)
    assert lines(progress(settings[:1], tmp_path / "none")) == [
        f"0 of {len(settings[0].runs)} runs finished"
    ]


def test_the_command_runs_what_it_is_asked(tmp_path, capsys):
    words = ["experiment", "run", "lenet_sample", "--scale", "0.02", "--threads", "1"]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert said.startswith("1 run\n[0/1] lenet_sample/run1 started\n[1/1] lenet_sample/run1 fin")
    assert cli.main(words) == 0
    assert "1 run, 1 of them done already\n1 finished, in 0 s\n" in capsys.readouterr().out
    assert cli.main(["experiment", "run"]) == 1
    assert "that would be every run of the report" in capsys.readouterr().err
    assert cli.main(["experiment", "run", "--table", "1", "--row", "1"]) == 1
    assert "Make it with: pycaffe_clr data cifar10" in capsys.readouterr().err
    assert cli.main(["experiment", "run", "resnet50_step"]) == 1
    assert "needs an ImageNet LMDB" in capsys.readouterr().err
    assert not Path("runs/report").exists()


def test_the_live_table_tells_what_runs_and_what_is_left(tmp_path):
    from rich.console import Console

    console = Console(width=80, force_terminal=True, record=True, color_system=None)
    jobs = [job("a", 100.0), job("b", 300.0), job("c", 200.0)]
    with LiveBoard(2, console) as board:
        board.begin(jobs, [])
        board.started(jobs[0])
        board.event(Event("a", "running", {"iteration": 50, "max_iter": 100, "accuracy": 0.5}))
        board._draw()
        text = console.export_text()
    assert "50/100  50%  acc 50.00%" in text
    assert "0 of 3 done, 5 min left for all" in text


def test_jobs_are_plain_values():
    (made, *_) = make_jobs(["lenet_sample"], "root")
    assert RunSpec.from_json(json.dumps(made.spec.to_json())) == made.spec
    assert dataclasses.replace(made, seconds=1.0).name == "lenet_sample/run1"


def test_several_runs_of_any_solver_follow_the_protocol(tmp_path, capsys):
    case = make_case(tmp_path)
    words = ["run", str(case), "--data-dir", str(tmp_path), "--no-curve", "--threads", "1"]
    words += ["--out", "out", "--runs", "2", "--seed", "5"]
    assert cli.main([*words, "--batch", "8"]) == 0
    first, second = (read_run(Path("out") / f"run{k}") for k in (1, 2))
    # One replica stands for the author's four: its batch grows by four.
    assert [r.record["spec"]["batch"] for r in (first, second)] == [12, 8]
    assert [r.record["spec"]["filler"] for r in (first, second)] == ["xavier", "msra"]
    assert [r.record["seed"] for r in (first, second)] == [5, 6]
    accuracies = [100 * r.final_accuracy for r in (first, second)]
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith(f"2 of 2 runs, final accuracy {sum(accuracies) / 2:.2f} +- ")
    assert cli.main([*words, "--batch", "8"]) == 1
    assert "--out out: run1, run2 of it lie there. Go on with them by --resume" in (
        capsys.readouterr().err
    )
    assert cli.main([*words, "--batch", "8", "--resume"]) == 0
    assert "2 runs, 2 of them done already" in capsys.readouterr().out
    assert cli.main([*words, "--overwrite", "--set", "base_lr=1e20", "--set", "max_lr=1e30"]) == 1
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("2 of 2 runs, final accuracy 33.33 +- 0.00 %")
    assert said.endswith("run2 diverged and counts at chance, 33.3333 %")
    assert [read_run(Path("out") / f"run{k}").record["spec"]["batch"] for k in (1, 2)] == [10, 6]
    words[words.index("out")] = "out/run1"
    assert cli.main(words) == 1
    assert "--out out/run1: holds one run by itself" in capsys.readouterr().err
    assert cli.main([*words, "--filler", "msra"]) == 1
    assert "--runs varies the weight fillers" in capsys.readouterr().err
    assert cli.main(["run", str(case), "--jobs", "2"]) == 1
    assert "--jobs belongs to --runs" in capsys.readouterr().err
