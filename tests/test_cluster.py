"""Runs on a real Ray cluster on this machine: two workers, one of which is killed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from train_cases import make_case, results

from pycaffe_clr.catalog import find_solver
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.experiments.board import Board
from pycaffe_clr.experiments.cluster import RayPool, portable
from pycaffe_clr.experiments.dispatch import run_jobs
from pycaffe_clr.experiments.jobs import Event, Job
from pycaffe_clr.train.result import read_record
from pycaffe_clr.train.spec import RunSpec

needs_ray = pytest.mark.skipif(
    find_spec("ray") is None, reason='Ray is not installed: pip install "pycaffe_clr[cluster]"'
)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a cluster with two cores, that ends with the tests."""
    import ray

    # Sockets lie in there, whose paths must be short.
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    context = ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        object_store_memory=80 << 20,
        _temp_dir=folder,
    )
    before = children(os.getpid())
    assert before
    yield context.address_info["gcs_address"]
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
    assert not children(os.getpid()) & before


def children(pid: int) -> set[int]:
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        found |= {int(child) for child in (task / "children").read_text().split()}
    return found


def job(case: Path, name: str, iterations: int = 8000) -> Job:
    spec = RunSpec(
        solver=case,
        out=case.parent / name,
        resume=True,
        data_dir=case.parent,
        max_iter=iterations,
        seed=3,
        checkpoint_every=0.05,
        curve=False,
        sets={"display": "1000", "test_interval": "1000"},
    )
    return Job(name=name, spec=spec)


class Killer(Board):
    """Kills a process once run `a` has a checkpoint: Ray's worker, or the run's own below it."""

    def __init__(self, folder: Path, of_ray: bool) -> None:
        super().__init__()
        self.folder = folder
        self.of_ray = of_ray
        self.pids: dict[str, list[int]] = {}
        self.done = False

    def event(self, event: Event) -> None:
        super().event(event)
        if event.kind == "begun":
            self.pids.setdefault(event.job, []).append(event.values["pid"])
        elif event.kind == "running" and event.job == "a" and not self.done:
            if (self.folder / "a" / "checkpoint.bin").exists():
                pid = self.pids["a"][0]
                os.kill(pid if self.of_ray else min(children(pid)), signal.SIGKILL)
                self.done = True


@needs_ray
@pytest.mark.parametrize("of_ray", [True, False])
def test_a_run_whose_worker_is_killed_goes_on_from_its_checkpoint(
    address, tmp_path, capsys, of_ray
):
    case = make_case(tmp_path)
    killer = Killer(tmp_path, of_ray)
    outcomes = run_jobs([job(case, "a"), job(case, "b")], cluster=address, threads=1, board=killer)
    assert [o.state for o in outcomes] == ["finished", "finished"]
    assert len(killer.pids["a"]) == 2 and len(killer.pids["b"]) == 1
    said = capsys.readouterr().out
    assert re.search(r"a began on \S+ again: its worker was lost\n", said)
    assert re.search(r"^a: \S+/a: going on at iteration [1-9]", said, re.MULTILINE)
    # The log's lines come over the wire.
    assert re.search(r"^b: I\d{4} .*\] Iteration 7000, Testing net", said, re.MULTILINE)
    # Both have one seed, and `b` was not disturbed.
    a, b = results(tmp_path / "a"), results(tmp_path / "b")
    assert {name: a[name] for name in b} == b
    assert not list(tmp_path.glob(".cluster-*"))


@needs_ray
def test_ctrl_c_stops_what_runs_and_calls_off_what_waits(address, tmp_path, monkeypatch):
    case = make_case(tmp_path)

    class Stopping(Board):
        def event(self, event: Event) -> None:
            if event.kind == "running" and event.values["iteration"] and not stopped:
                stopped.append(event.job)
                os.kill(os.getpid(), signal.SIGINT)

    stopped: list[str] = []
    jobs = [job(case, name, 1_000_000) for name in "abc"]
    outcomes = run_jobs(jobs, cluster=address, threads=1, board=Stopping())
    assert stopped and [o.state for o in outcomes] == ["stopped"] * 3
    name = stopped[0]
    assert read_record(tmp_path / name)["state"] == "stopped"
    assert (tmp_path / name / "checkpoint.bin").exists()


@needs_ray
def test_a_node_that_does_not_see_the_folder_says_so(address, tmp_path):
    pool = RayPool(address, tmp_path, 1)
    next(tmp_path.glob(".cluster-*")).unlink()
    try:
        pool.start(job(make_case(tmp_path), "a"))
        events: list[Event] = []
        while not (events and events[-1].kind == "ended"):
            events += pool.poll(1.0)
    finally:
        pool.close()
    assert events[-1].values["state"] == "failed"
    assert f"does not see {tmp_path}: the folder of the runs" in events[-1].values["reason"]


@needs_ray
def test_where_no_cluster_answers_an_error_says_how_to_start_one(tmp_path):
    # In a process of its own: this one may be part of a cluster.
    code = (
        "from pathlib import Path; from pycaffe_clr.experiments.cluster import RayPool;"
        f"RayPool('127.0.0.1:9', Path({str(tmp_path)!r}), 1)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr
    assert "--cluster 127.0.0.1:9: no Ray cluster answers" in said
    assert "Start one with `ray start --head`" in said


def test_a_spec_holds_in_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    case = make_case(tmp_path)
    spec = RunSpec(solver="tiny", out="a", weights="x.caffemodel,y.caffemodel", net="lenet")
    assert portable(spec).to_json() == {
        "solver": str(case),
        "out": f"{tmp_path}/a",
        "data_dir": str(tmp_path),
        "weights": f"{tmp_path}/x.caffemodel,{tmp_path}/y.caffemodel",
        "net": "lenet",
    }
    shipped = portable(RunSpec(solver=find_solver("lenet_sample"), data_dir="data", net=case))
    assert shipped.solver == "lenet_sample" and shipped.data_dir == f"{tmp_path}/data"
    assert shipped.net == str(case)
    with pytest.raises(ConfigError, match="--jobs is for this machine"):
        run_jobs([Job(name="a", spec=spec)], at_once=2, cluster="auto")


def test_without_ray_an_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r'pip install "pycaffe_clr\[cluster\]"'):
        RayPool("auto", tmp_path, 1)
