"""The queue of runs: the local pool, what it makes of stops, kills and failures."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from train_cases import log_text, make_case, results

from pycaffe_clr import devices
from pycaffe_clr.errors import ConfigError, DataError
from pycaffe_clr.experiments import cores, dispatch, needs, pool
from pycaffe_clr.experiments.board import Board
from pycaffe_clr.experiments.dispatch import exit_code, run_jobs
from pycaffe_clr.experiments.jobs import Job
from pycaffe_clr.experiments.pool import LocalPool
from pycaffe_clr.train import checkpoint
from pycaffe_clr.train.result import read_record
from pycaffe_clr.train.run_folder import CHECKPOINT
from pycaffe_clr.train.spec import RunSpec

# A worker that trains nothing: its solver's name says what becomes of it.
FAKE = """
import json, os, signal, sys, time
spec = json.loads(sys.stdin.readline())["spec"]
def tell(**values):  # not by print, which a signal's handler may not enter again
    os.write(1, (json.dumps(values) + "\\n").encode())
os.makedirs(spec["out"], exist_ok=True)
with open(spec["out"] + "/began", "a") as file:
    file.write(os.environ["OMP_NUM_THREADS"] + "\\n")
def stop(*_):
    tell(kind="ended", state="stopped", iteration=7)
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
tell(kind="running", iteration=1, max_iter=9)
kind, _, seconds = spec["solver"].partition(" ")
time.sleep(float(seconds or 0))
if kind == "dies":
    print("its last words", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
if kind == "fails":
    tell(kind="ended", state="failed", reason="it does not work")
elif kind == "full":
    tell(kind="ended", state="failed", reason="x: cannot be written: No space left on device")
else:
    record = {"state": "finished", "iteration": 9, "max_iter": 9}
    open(spec["out"] + "/run.json", "w").write(json.dumps(record))
    tell(kind="ended", state="finished", iteration=9, max_iter=9, final_accuracy=0.5)
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Workers that train nothing; the folder for their runs."""
    worker = tmp_path / "worker.py"
    worker.write_text(FAKE)
    monkeypatch.setattr(pool, "COMMAND", (sys.executable, "-S", str(worker)))
    monkeypatch.setattr(dispatch, "unmet", lambda jobs: {})
    return tmp_path


def job(folder: Path, name: str, what: str = "works", **fields: object) -> Job:
    spec = RunSpec(solver=what, out=folder / name, resume=True)
    return Job(name=name, spec=spec, **fields)  # type: ignore[arg-type]


def began(folder: Path, name: str) -> list[str]:
    """The number of threads of each time that a run began."""
    return (folder / name / "began").read_text().split()


def test_one_that_fails_or_dies_does_not_keep_others_from_being_made(fake, capsys):
    (fake / "b").mkdir()
    (fake / "b" / "train.log").write_text("".join(f"line {i}\n" for i in range(9)))
    jobs = [job(fake, "a"), job(fake, "b", "fails"), job(fake, "c", "dies"), job(fake, "d")]
    outcomes = run_jobs(jobs, at_once=2, threads=1)
    assert [o.state for o in outcomes] == ["finished", "failed", "killed", "finished"]
    assert exit_code(outcomes) == 1
    said = capsys.readouterr().out
    assert said.startswith("4 runs\n[0/4] a started\n")
    assert "b failed: it does not work\n    line 4\n" in said and "line 3" not in said
    assert "c killed: its process ended by SIGKILL (out of memory?): its last words" in said
    assert "a finished in " in said and ": accuracy 50.00 %\n" in said
    assert said.count("b failed") == 1
    assert said.splitlines()[-1].startswith("2 finished, 1 failed, 1 killed, in ")
    # What is done is not done again; the others are.
    run_jobs(jobs, at_once=2, threads=1)
    assert [len(began(fake, name)) for name in "abcd"] == [1, 2, 2, 1]
    assert "4 runs, 2 of them done already" in capsys.readouterr().out


def test_diverged_and_ended_runs_are_final(fake):
    for name in ("diverged", "ended early"):
        (fake / name).mkdir()
        (fake / name / "run.json").write_text(json.dumps({"state": name, "iteration": 5}))
    outcomes = run_jobs([job(fake, "diverged"), job(fake, "ended early")])
    assert [o.state for o in outcomes] == ["diverged", "ended early"]
    assert exit_code(outcomes) == 0 and not (fake / "diverged" / "began").exists()


def test_runs_go_in_parallel_up_to_the_limit(fake):
    jobs = [job(fake, name, "works 0.5") for name in "abcd"]
    most = 0

    class Counting(Board):
        def started(self, job):
            nonlocal most
            self.now = getattr(self, "now", 0) + 1
            most = max(most, self.now)

        def ended(self, outcome):
            self.now -= 1

    run_jobs(jobs, at_once=3, threads=2, board=Counting())
    assert most == 3
    assert began(fake, "a") == ["2"]


def test_memory_limits_the_runs_at_a_time(fake, monkeypatch):
    monkeypatch.setattr(pool, "free_memory", lambda: 5 << 30)
    local = LocalPool(4, 1)
    small, large = job(fake, "a"), job(fake, "b", memory=6 << 30)
    try:
        # One always has room, or it would never be made.
        assert local.has_room(large)
        local.start(small)
        assert local.has_room(job(fake, "c")) and not local.has_room(large)
    finally:
        local.close()


def test_runs_on_one_device_are_threads_of_one_process(tmp_path, monkeypatch):
    solver = str(make_case(tmp_path))
    fields = {"solver": solver, "data_dir": tmp_path, "device": "kernels", "curve": False}

    def jobs(root: str, **more: object) -> list[Job]:
        return [
            Job(name=f"{n}", spec=RunSpec(out=tmp_path / root / f"{n}", seed=n, **fields | more))
            for n in (1, 2, 3)
        ]

    apart = run_jobs(jobs("apart"), at_once=2, threads=1)
    processes: list[str] = []
    begin = LocalPool._process

    def counted(self, device):
        processes.append(device)
        return begin(self, device)

    monkeypatch.setattr(LocalPool, "_process", counted)
    monkeypatch.setattr(pool, "shared_device", lambda job: "here")
    beside = run_jobs(jobs("beside"), at_once=3, threads=1)
    assert processes == ["here"]
    assert [o.state for o in beside] == [o.state for o in apart] == ["finished"] * 3
    for n in (1, 2, 3):
        assert results(tmp_path / "beside" / f"{n}") == results(tmp_path / "apart" / f"{n}")

    class Stopping(Board):
        def event(self, event):
            if event.values.get("iteration", 0) > 0:
                os.kill(os.getpid(), signal.SIGTERM)

    endless = {"max_iter": 1000000, "whole_test": False}
    stopped = run_jobs(jobs("stopped", **endless), at_once=3, threads=1, board=Stopping())
    assert [o.state for o in stopped] == ["stopped"] * 3
    assert all((o.job.folder / CHECKPOINT).exists() for o in stopped)

    class Killing(Board):
        def event(self, event):
            if event.values.get("iteration", 0) > 0:
                for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                    os.kill(int(pid), signal.SIGKILL)

    killed = run_jobs(jobs("killed", **endless), at_once=3, threads=1, board=Killing())
    assert {o.state for o in killed} == {"killed"}
    assert all("its process ended by SIGKILL" in o.reason for o in killed)


def test_gpus_are_shared_and_processors_are_not(tmp_path, monkeypatch):
    shared = {"cuda": "cuda", "cuda:1": "cuda:1", "cpu": "", None: "", "cuda:0,1": ""}
    for device, expected in shared.items():
        spec = RunSpec(solver="x", out=tmp_path, device=device)
        assert pool.shared_device(Job(name="a", spec=spec)) == expected
    spec = RunSpec(solver="x", out=tmp_path, device="cuda", ranks=2)
    assert pool.shared_device(Job(name="a", spec=spec)) == ""
    # Left to the solver, whose solver_mode is GPU where it says nothing.
    job = Job(name="a", spec=RunSpec(solver=make_case(tmp_path), out=tmp_path / "a"))
    monkeypatch.setattr(devices, "gpus", lambda: (["one"], ""))
    assert pool.shared_device(job) == "cuda:0"


def test_a_branch_follows_its_base(fake, capsys):
    snapshot = fake / "base" / "x_iter_5.solverstate"
    branch = Job(
        name="branch",
        spec=RunSpec(solver="works", out=fake / "branch", snapshot=snapshot),
        after="base",
    )
    # The base, which comes later in the list, leaves no snapshot.
    outcomes = run_jobs([branch, job(fake, "base")], at_once=2, threads=1)
    assert [o.state for o in outcomes] == ["skipped", "finished"]
    assert "x_iter_5.solverstate, which base did not leave" in outcomes[0].reason
    snapshot.touch()
    outcomes = run_jobs([branch, job(fake, "base")], at_once=2, threads=1)
    assert [o.state for o in outcomes] == ["finished", "finished"]
    failing = [branch, job(fake, "base", "fails")]
    (fake / "base" / "run.json").unlink()
    (fake / "branch" / "run.json").unlink()
    assert run_jobs(failing, at_once=2, threads=1)[0].state == "skipped"
    said = capsys.readouterr().out
    assert "branch skipped: it starts from a snapshot of base, which has failed" in said


@pytest.fixture
def heeded(number):
    """The signal is not ignored, as Ctrl-C is by tests that a shell runs in the background."""
    before = signal.signal(number, signal.default_int_handler)
    yield
    signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_and_starts_no_more(fake, number, capsys, heeded):
    jobs = [job(fake, name, "works 30") for name in "abc"]
    heard: set[str] = set()

    class Stopping(Board):
        def event(self, event):
            heard.add(event.job)
            if len(heard) == 2:
                os.kill(os.getpid(), number)

    before = signal.getsignal(signal.SIGTERM)
    begun = time.monotonic()
    outcomes = run_jobs(jobs, at_once=2, threads=1, board=Stopping())
    assert time.monotonic() - begun < 20
    assert [o.state for o in outcomes] == ["stopped"] * 3
    assert outcomes[0].iteration == 7 and not (fake / "c").exists()
    assert exit_code(outcomes) == 130
    said = capsys.readouterr().out
    assert "stopping: 2 runs after this iteration, each with a checkpoint" in said
    assert "a stopped at iteration 7" in said and "c not started" in said
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_queue_under_nohup_outlives_its_terminal():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with dispatch._Stops():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_where_no_process_can_be_started_the_queue_says_so(fake, monkeypatch):
    monkeypatch.setattr(pool, "COMMAND", (str(fake / "nobody"),))
    (outcome,) = run_jobs([job(fake, "a")], threads=1)
    assert outcome.state == "failed"
    assert outcome.reason == "no process can be started: No such file or directory"


def test_a_queue_that_breaks_off_lets_its_runs_write_their_checkpoints(tmp_path):
    case = make_case(tmp_path)
    spec = RunSpec(solver=case, out=tmp_path / "a", data_dir=tmp_path, max_iter=10**6, curve=False)

    class Broken(Board):
        def event(self, event):
            if event.values["iteration"]:
                raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        run_jobs([Job(name="a", spec=spec)], threads=1, board=Broken())
    assert read_record(tmp_path / "a")["state"] == "stopped"
    assert (tmp_path / "a" / "checkpoint.bin").exists()


def test_a_full_disk_is_told_once_and_nothing_more_is_started(fake, capsys):
    jobs = [job(fake, "a", "full"), job(fake, "b"), job(fake, "c")]
    outcomes = run_jobs(jobs, at_once=1, threads=1)
    assert [o.state for o in outcomes] == ["failed", "skipped", "skipped"]
    said = capsys.readouterr().out
    assert said.count("No space left") == 1 and "b skipped: the disk of" in said


def test_a_run_in_other_hands_is_waited_for(fake, monkeypatch, capsys):
    monkeypatch.setattr(dispatch, "_HELD_SECONDS", 0.2)
    (fake / "a").mkdir()
    lock = (fake / "a" / ".lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    threading.Timer(1.0, lock.close).start()
    outcomes = run_jobs([job(fake, "a"), job(fake, "b")], at_once=1, threads=1)
    assert [o.state for o in outcomes] == ["finished", "finished"]
    said = capsys.readouterr().out
    assert said.count("a is in the hands of another process: waiting for that one") == 1
    assert said.index("b finished") < said.index("a finished")


def test_where_nothing_can_be_written_nothing_is_started(fake, monkeypatch):
    (fake / "file").touch()
    with pytest.raises(DataError, match="file.*runs cannot be written there: File exists"):
        run_jobs([job(fake / "file", "a")])
    with pytest.raises(DataError, match="/proc.*: runs cannot be written there: "):
        run_jobs([job(Path("/proc/self"), "a")])
    usage = type("usage", (), {"free": 5 << 20})
    monkeypatch.setattr(needs.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match="5 MiB are free on its disk, and these runs .* 1145 MiB"):
        run_jobs([job(fake, "a", iterations=20_000_000)])
    assert not (fake / "a").exists()


def test_names_are_unique(fake):
    with pytest.raises(ConfigError, match="two runs have one name: a"):
        run_jobs([job(fake, "a"), job(fake, "a")])


def test_cores_are_shared_out(monkeypatch):
    monkeypatch.setattr(cores, "physical_cores", lambda: 8)
    assert cores.share(20) == (8, 1)
    assert cores.share(2) == (2, 4)
    assert cores.share(20, jobs=4) == (4, 2)
    assert cores.share(20, threads=3) == (2, 3)
    assert cores.share(20, jobs=16) == (16, 1)
    with pytest.raises(ConfigError, match="--jobs must be 1 or more, not 0"):
        cores.share(3, jobs=0)
    environment = cores.environment(3)
    assert environment["OMP_NUM_THREADS"] == "3" and environment["OMP_WAIT_POLICY"] == "passive"


def test_a_container_has_what_its_limits_leave(tmp_path, monkeypatch):
    monkeypatch.setattr(cores, "_CGROUP", tmp_path)
    free, count = cores.free_memory(), cores.physical_cores()
    assert free > 1 << 20
    for name, text in (("cpu.max", "max 100000"), ("memory.max", "max"), ("memory.current", "7")):
        (tmp_path / name).write_text(text)
    assert cores.physical_cores() == count and cores.free_memory() > 1 << 20
    (tmp_path / "cpu.max").write_text("50000 100000")
    (tmp_path / "memory.max").write_text("1007")
    assert cores.physical_cores() == 1 and cores.free_memory() == 1000


def test_the_cores_of_this_machine():
    assert 1 <= cores.physical_cores() <= os.cpu_count()


# --- real runs ----------------------------------------------------------------------------------

# The queue as a process of its own, which can be killed. Looks often for what orphans still hold.
QUEUE = """
import sys
from pycaffe_clr.experiments import dispatch
from pycaffe_clr.experiments.dispatch import exit_code, run_jobs
from pycaffe_clr.experiments.jobs import Job
from pycaffe_clr.train.spec import RunSpec
dispatch._HELD_SECONDS = 0.1
solver, root, *names = sys.argv[1:]
jobs = [
    Job(name=name, spec=RunSpec(
        solver=solver, out=f"{root}/{name}", resume=True, seed=int(name[1:]), curve=False,
        max_iter=4000, checkpoint_every=0.03, sets={"display": "500", "test_interval": "400"},
    ))
    for name in names
]
sys.exit(exit_code(run_jobs(jobs, at_once=2, threads=1)))
"""
RUNS = ("r1", "r2", "r3")


def start_queue(case: Path, root: str, *names: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", QUEUE, case, root, *names],
        cwd=case.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in children.split()]


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def checkpoints(folder: Path) -> dict[str, int]:
    """The iteration of each run's checkpoint."""
    found = {}
    for name in RUNS:
        with contextlib.suppress(DataError):
            found[name] = checkpoint.read(folder / name / "checkpoint.bin").header["iteration"]
    return found


def finished(folder: Path) -> dict[str, int]:
    """When each finished run was written."""
    found = {}
    for name in RUNS:
        with contextlib.suppress(DataError):
            if read_record(folder / name)["state"] == "finished":
                found[name] = (folder / name / "run.json").stat().st_mtime_ns
    return found


def test_killed_at_twenty_moments_it_ends_as_if_it_had_not_been(tmp_path):
    case = make_case(tmp_path)
    # Moments before and after the first checkpoint, however busy the machine is.
    began = time.monotonic()
    process = start_queue(case, "first", *RUNS)
    while not checkpoints(tmp_path / "first") and process.poll() is None:
        time.sleep(0.02)
    until_checkpoint = time.monotonic() - began
    process.send_signal(signal.SIGTERM)
    process.communicate()
    moments = random.Random(7)
    done: dict[str, int] = {}
    reached: dict[str, int] = {}
    for attempt in range(20):
        process = start_queue(case, "killed", *RUNS)
        time.sleep(moments.uniform(0.1, 2) * until_checkpoint)
        workers = workers_of(process)
        how = attempt % 3
        if how > 0 and workers:
            for worker in workers if how == 2 else [moments.choice(workers)]:
                kill(worker)
        # The queue alone, one worker and a signal to the queue, or all, as when a machine dies.
        process.send_signal(signal.SIGTERM if how == 1 else signal.SIGKILL)
        process.communicate()
        assert done.items() <= finished(tmp_path / "killed").items(), "made again"
        done = finished(tmp_path / "killed")
        for name, iteration in checkpoints(tmp_path / "killed").items():
            assert iteration >= reached.get(name, 0), "lost"
            reached[name] = iteration
    assert reached
    both = [start_queue(case, root, *RUNS) for root in ("killed", "whole")]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    for name in RUNS:
        killed, whole = (results(tmp_path / root / name) for root in ("killed", "whole"))
        # Where a run was stopped by a signal it left a snapshot more.
        assert {file: killed[file] for file in whole} == whole


def test_orphans_write_a_checkpoint_and_end(tmp_path):
    case = make_case(tmp_path)
    process = start_queue(case, "out", "r1")
    end = time.monotonic() + 20
    while not checkpoints(tmp_path / "out") and time.monotonic() < end:
        time.sleep(0.02)
    (worker,) = workers_of(process)
    kill(process.pid)
    process.communicate()
    while Path(f"/proc/{worker}").exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert not Path(f"/proc/{worker}").exists()
    assert read_record(tmp_path / "out" / "r1")["state"] in ("stopped", "finished")


def test_two_queues_in_one_folder_share_the_runs(tmp_path):
    case = make_case(tmp_path)
    queues = [start_queue(case, "out", *names) for names in (RUNS, RUNS[::-1])]
    said = [queue.communicate()[0] for queue in queues]
    assert [queue.returncode for queue in queues] == [0, 0], said
    assert all("3 finished" in text for text in said)
    for name in RUNS:
        assert log_text(tmp_path / "out" / name).count("Solving tiny") == 1


def test_missing_data_are_told_before_anything_starts(tmp_path, capsys):
    case = make_case(tmp_path)
    jobs = [
        Job(name=name, spec=RunSpec(solver=solver, out=tmp_path / name, resume=True, max_iter=20))
        for name, solver in (("a", "lenet_1cycle"), ("b", str(case)), ("c", "resnet50_step"))
    ]
    with pytest.raises(DataError) as caught:
        run_jobs([jobs[0], jobs[2]])
    assert "Make it with: pycaffe_clr data mnist" in str(caught.value)
    assert "needs an ImageNet LMDB" in str(caught.value)
    assert not (tmp_path / "a").exists()
    spec = dataclasses.replace(jobs[1].spec, data_dir=str(tmp_path))
    outcomes = run_jobs([jobs[0], dataclasses.replace(jobs[1], spec=spec)], threads=1)
    assert [o.state for o in outcomes] == ["skipped", "finished"]
    assert exit_code(outcomes) == 1
    assert "a skipped: examples/mnist/mnist_train_lmdb: no such database" in capsys.readouterr().out


def test_a_run_that_diverges_is_done_and_one_that_cannot_start_says_why(tmp_path, capsys):
    case = make_case(tmp_path)
    common = {"solver": case, "resume": True, "data_dir": tmp_path, "max_iter": 40, "curve": False}
    huge = {"base_lr": "1e20", "max_lr": "1e30"}
    jobs = [
        Job(name="a", spec=RunSpec(out=tmp_path / "a", sets=huge, **common)),
        Job(
            name="b", spec=RunSpec(out=tmp_path / "b", net_sets={"layer.ip.nothing": "1"}, **common)
        ),
    ]
    outcomes = run_jobs(jobs, at_once=1, threads=1)
    assert [o.state for o in outcomes] == ["diverged", "skipped"]
    assert 'LayerParameter has no field "nothing"' in outcomes[1].reason
    said = capsys.readouterr().out
    assert f"a diverged at iteration {outcomes[0].iteration} in " in said


def test_a_run_that_was_begun_otherwise_is_told_before_anything_starts(tmp_path):
    case = make_case(tmp_path)
    spec = RunSpec(solver=case, out=tmp_path / "a", resume=True, max_iter=40, curve=False, seed=3)
    spec = dataclasses.replace(spec, data_dir=str(tmp_path))
    run_jobs([Job(name="a", spec=spec)], threads=1)
    record = json.loads((tmp_path / "a" / "run.json").read_text())
    (tmp_path / "a" / "run.json").write_text(json.dumps(record | {"state": "stopped"}))
    with pytest.raises(ConfigError, match="with seed 3, .* to 4; take another folder") as caught:
        run_jobs([Job(name="a", spec=dataclasses.replace(spec, seed=4))], threads=1)
    assert "\n" not in str(caught.value)


def test_a_run_that_fails_leaves_its_reason(tmp_path, capsys):
    case = make_case(tmp_path)
    spec = RunSpec(solver=case, out=tmp_path / "a", resume=True, max_iter=40, curve=False)
    spec = dataclasses.replace(spec, data_dir=str(tmp_path))
    run_jobs([Job(name="a", spec=spec)], threads=1)
    record = json.loads((tmp_path / "a" / "run.json").read_text())
    (tmp_path / "a" / "run.json").write_text(json.dumps(record | {"state": "stopped"}))
    (tmp_path / "a" / "checkpoint.bin").write_bytes(b"nothing")
    capsys.readouterr()
    (outcome,) = run_jobs([Job(name="a", spec=spec)], threads=1)
    assert outcome.state == "failed" and "is not a checkpoint" in outcome.reason
    said = capsys.readouterr().out
    assert f"a failed: {outcome.reason}\n    I" in said and "Optimization Done.\n" in said


def test_a_queue_follows_the_logs_of_its_runs(tmp_path, capsys):
    case = make_case(tmp_path)
    spec = RunSpec(solver=case, out=tmp_path / "a", resume=True, data_dir=tmp_path, max_iter=40)
    run_jobs([Job(name="a", spec=spec)], threads=1, follow=True)
    said = capsys.readouterr().out
    assert re.search(r"^a: I\d{4} .*\] Iteration 20, Testing net \(#0\)$", said, re.MULTILINE)
