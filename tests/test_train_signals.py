"""What signals do to `run` and `train`: each test sends them to a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from train_cases import make_case

from pycaffe_clr.train import checkpoint
from pycaffe_clr.weights import read_state, read_weights

SECONDS = 60
# Writing takes a second from the moment that the file `writing` is there.
SLOW_WRITES = """
import os, sys, time
from pathlib import Path
from pycaffe_clr import cli
sync = os.fsync
def slow(file):
    name = os.readlink(f"/proc/self/fd/{file}")
    if ".caffemodel" in name and name.endswith(".tmp"):
        Path("writing").touch()
        time.sleep(1)
    sync(file)
os.fsync = slow
sys.exit(cli.main(sys.argv[1:]))
"""


class Running:
    """A `pycaffe_clr ...` in a process of its own, whose output goes to the file `said`."""

    def __init__(self, folder: Path, *words: str, start: tuple[str, ...] = ("-m", "pycaffe_clr")):
        self.folder = folder
        self.output = (folder / "said").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, *start, *words],
            cwd=folder,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        )

    def said(self) -> str:
        return (self.folder / "said").read_text()

    def wait_for(self, what: str | Callable[[], bool]) -> None:
        """Wait for a text (a regular expression) in the output, or for a condition."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            # Asked before looking, so that what was written last is not missed.
            over = self.process.poll() is not None
            if re.search(what, self.said()) if isinstance(what, str) else what():
                return
            assert not over, f"it ended before {what}: {self.said()}"
            time.sleep(0.02)
        raise AssertionError(f"no {what} in {SECONDS} s: {self.said()}")

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def code(self) -> int:
        return self.process.wait(SECONDS)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.output.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts a run of the tiny solver that would last for hours."""
    running: list[Running] = []
    case = make_case(tmp_path)
    long = re.sub("(max_iter|snapshot|test_interval): .*", "", case.read_text())
    case.write_text(
        re.sub("test_iter: .*", "", long) + "max_iter: 100000000 test_initialization: false"
    )

    def begin(*words: str, **kwargs: tuple[str, ...]) -> Running:
        running.append(Running(tmp_path, *words, **kwargs))
        return running[-1]

    yield begin
    for each in running:
        each.end()


RUN = ("run", "tiny.prototxt", "--out", "out", "--threads", "1")
TRAIN = ("train", "--solver", "tiny.prototxt", "--threads", "1")


def snapshots(folder: Path) -> list[int]:
    """The iterations of the snapshots in a folder, all of which can be read."""
    found = []
    for path in folder.glob("*.solverstate"):
        state = read_state(path)
        assert read_weights(path.with_suffix(".caffemodel"))
        found.append(state.iter)
    return sorted(found)


@pytest.mark.parametrize(("number", "name"), [("SIGINT", "Ctrl-C"), ("SIGTERM", "SIGTERM")])
def test_a_run_snapshots_and_stops(start, tmp_path, number, name):
    run = start(*RUN)
    run.wait_for("Iteration 10 ")
    run.send(getattr(signal, number))
    assert run.code() == 128 + getattr(signal, number)
    assert run.said().count(f"{name}: stopping after this iteration; once more stops at once") == 1
    (at,) = snapshots(tmp_path / "out")
    assert f"stopped at iteration {at}: " in run.said()
    assert "go on with: pycaffe_clr run --resume --out out" in run.said()
    assert json.loads((tmp_path / "out/run.json").read_text())["state"] == "stopped"
    assert checkpoint.read(tmp_path / "out/checkpoint.bin").header["iteration"] == at


def test_sighup_makes_a_run_snapshot_and_go_on(start, tmp_path):
    run = start(*RUN)
    run.wait_for("Iteration 10 ")
    for count in (1, 2):
        run.send(signal.SIGHUP)
        run.wait_for(lambda count=count: len(list(tmp_path.glob("out/*.solverstate"))) == count)
    first, second = snapshots(tmp_path / "out")
    assert first < second
    run.wait_for(f"Iteration {(second // 10 + 2) * 10} ")
    assert run.process.poll() is None and "stopping" not in run.said()


def test_a_second_ctrl_c_stops_in_the_middle_of_an_iteration(start, tmp_path):
    # One iteration of this lasts for hours; Python runs between iterations only.
    with (tmp_path / "tiny.prototxt").open("a") as solver:
        solver.write(" iter_size: 1000000000")
    run = start(*RUN)
    run.wait_for("tiny: 100000000 iterations")
    time.sleep(0.3)
    run.send(signal.SIGINT)
    run.wait_for("Ctrl-C: stopping after this iteration")
    assert run.process.poll() is None
    begin = time.monotonic()
    run.send(signal.SIGINT)
    assert run.code() == 130
    assert time.monotonic() - begin < 5
    assert "stopped at once" in run.said() and snapshots(tmp_path / "out") == []


def test_a_second_ctrl_c_in_the_middle_of_a_snapshot_leaves_whole_files(start, tmp_path):
    run = start(*RUN, start=("-c", SLOW_WRITES))
    run.wait_for("Iteration 10 ")
    run.send(signal.SIGHUP)
    run.wait_for(lambda: len(snapshots(tmp_path / "out")) == 1)
    before = snapshots(tmp_path / "out")
    (tmp_path / "writing").unlink()
    run.send(signal.SIGINT)
    run.wait_for((tmp_path / "writing").exists)
    assert len(list((tmp_path / "out").glob("*.caffemodel"))) == 1
    run.send(signal.SIGINT)
    assert run.code() == 130
    assert re.search(r"stopped at once, in iteration \d+\ngo on with: ", run.said())
    assert json.loads((tmp_path / "out/run.json").read_text())["state"] == "stopped"
    assert snapshots(tmp_path / "out") == before
    assert len(list((tmp_path / "out").glob("*.caffemodel"))) == 1
    assert not list((tmp_path / "out").glob(".*.tmp"))


def test_one_ctrl_c_in_the_middle_of_a_snapshot_finishes_it(start, tmp_path):
    run = start(*RUN, start=("-c", SLOW_WRITES))
    run.wait_for("Iteration 10 ")
    run.send(signal.SIGHUP)
    run.wait_for((tmp_path / "writing").exists)
    run.send(signal.SIGINT)
    assert run.code() == 130
    # Where it was, and where it stopped; the two may be one.
    assert snapshots(tmp_path / "out")
    assert not list((tmp_path / "out").glob(".*.tmp"))


def test_train_stops_as_caffe_does(start, tmp_path):
    train = start(*TRAIN)
    train.wait_for("Iteration 10 ")
    train.send(signal.SIGHUP)
    train.wait_for("Snapshotting solver state to binary proto file elsewhere/tiny_iter_")
    train.send(signal.SIGINT)
    assert train.code() == 0
    assert "Optimization stopped early." in train.said()
    assert train.said().rstrip().endswith("caffe.cpp:259] Optimization Done.")
    # Where SIGHUP came, and where it stopped; the two may be one.
    assert len(snapshots(tmp_path / "elsewhere")) in (1, 2)


def test_trains_flags_say_what_signals_do(start, tmp_path):
    train = start(*TRAIN, "--sigint_effect", "snapshot", "--sighup_effect", "stop")
    train.wait_for("Iteration 10 ")
    for count in (1, 2):
        train.send(signal.SIGINT)
        wanted = rf"(?s)(Snapshotting solver state.*){{{count}}}Iteration"
        train.wait_for(wanted)
    train.send(signal.SIGHUP)
    assert train.code() == 0
    assert "SIGHUP: stopping after this iteration" in train.said()
    assert len(snapshots(tmp_path / "elsewhere")) == 3


def test_train_can_be_told_to_ignore_signals(start, tmp_path):
    train = start(*TRAIN, "-sigint_effect=none", "-sighup_effect=none")
    train.wait_for("Iteration 10 ")
    train.send(signal.SIGINT)
    train.send(signal.SIGHUP)
    train.wait_for("Iteration 2000 ")
    assert "stopping" not in train.said() and "Snapshotting" not in train.said()
    train.send(signal.SIGTERM)
    assert train.code() == 0
    assert len(snapshots(tmp_path / "elsewhere")) == 1
