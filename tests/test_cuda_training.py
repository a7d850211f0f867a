"""Whole runs on the CUDA backend. test_cuda_host.py has them run, on the host, in a process."""

from __future__ import annotations

import ctypes
import gc
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from cuda_cases import NETS, arrays_of, session_of, write_case
from test_ranks import At, stop

from pycaffe_clr import engine
from pycaffe_clr.data.sources import LmdbSource
from pycaffe_clr.engine import ready_core
from pycaffe_clr.errors import ConfigError, EngineError, PycaffeClrError
from pycaffe_clr.experiments import pool
from pycaffe_clr.experiments.dispatch import run_jobs
from pycaffe_clr.experiments.jobs import Job
from pycaffe_clr.train import team
from pycaffe_clr.train.events import Listener
from pycaffe_clr.train.run import run
from pycaffe_clr.train.spec import RunSpec
from pycaffe_clr.train.tables import read_table

pytestmark = pytest.mark.skipif(
    "not config.getoption('--cuda-host')", reason="test_cuda_host.py runs it"
)
Arrays = dict[str, np.ndarray]


@pytest.fixture(params=NETS)
def solver(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_case(tmp_path, request.param)


@pytest.fixture
def resnet(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_case(tmp_path, "resnet")


@pytest.fixture
def library(pytestconfig: pytest.Config) -> ctypes.CDLL:
    return ctypes.CDLL(pytestconfig.getoption("--cuda-host"))


@pytest.fixture
def having(library: ctypes.CDLL) -> Iterator[Callable[[str], None]]:
    """Sets what is wrong with the machine (csrc/backends/cuda/host/modes.h), for a test."""
    yield lambda words: library.set_cuda_host_faults(words.encode())
    library.set_cuda_host_faults(b"")
    gc.collect()  # a lost device is lost for as long as something of it is left


class Losses(Listener):
    def __init__(self) -> None:
        self.all: list[float] = []

    def rows(self, rows) -> None:
        self.all += [dict(row.outputs)["loss"] for row in rows]


def trained(solver: Path, count: int = 4, **settings) -> tuple[list[float], Arrays]:
    listener = Losses()
    session = session_of(solver, listener=listener, **settings)
    session.step(count)
    return listener.all, arrays_of(session)


def check_equal(ours: Arrays, others: Arrays) -> None:
    assert list(ours) == list(others)
    for key, array in ours.items():
        assert np.array_equal(array, others[key]), key


def check_close(ours: Arrays, others: Arrays, bound: float) -> None:
    assert list(ours) == list(others)
    for key, array in ours.items():
        largest = max(np.abs(others[key]).max(), 1e-3)
        assert np.abs(array - others[key]).max() <= bound * largest, key


def test_it_trains_as_the_plain_loops_do(solver, monkeypatch):
    losses, arrays = trained(solver)
    unfused_losses, unfused = trained(solver, fuse=False)
    monkeypatch.setattr(ready_core(), "backend_of", lambda *_: "reference")
    plain_losses, plain = trained(solver)
    assert losses == pytest.approx(plain_losses, rel=1e-4) and losses[-1] != losses[0]
    assert unfused_losses == pytest.approx(plain_losses, rel=1e-4)
    check_close(arrays, plain, 2e-4)
    check_close(unfused, plain, 2e-4)


def test_a_recorded_run_is_the_run_op_by_op(solver, library):
    recorded = trained(solver)
    library.set_cuda_host_synchronous(1)
    try:
        one_by_one = trained(solver)
    finally:
        library.set_cuda_host_synchronous(0)
    assert recorded[0] == one_by_one[0]
    check_equal(recorded[1], one_by_one[1])


def test_a_database_that_the_host_does_not_hold_is_sent_batch_by_batch(resnet, monkeypatch):
    held = trained(resnet, 7)  # once round the records, and a little more
    monkeypatch.setattr(engine, "open_source", lambda path, color: LmdbSource(path, 0, color))
    streamed = trained(resnet, 7)
    assert streamed[0] == held[0]
    check_equal(streamed[1], held[1])


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("resnet", {"replicas": 1}),
        ("resnet", {"replicas": 2}),
        ("densenet", {"replicas": 2, "precision": "bf16"}),  # what it joins is never copied
    ],
)
def test_a_run_goes_on_bit_for_bit_from_its_snapshot(name, settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    solver = write_case(tmp_path, name)
    whole = session_of(solver, **settings)
    whole.step(5)
    first = session_of(solver, **settings)
    first.step(3)
    _, state = first.snapshot()
    second = session_of(solver, **settings)
    second.restore(state)
    second.step(2)
    check_equal(arrays_of(second), arrays_of(whole))


def test_two_nets_in_two_threads_train_as_each_does_alone(resnet):
    alone = trained(resnet)
    start = threading.Barrier(2)
    beside: list[tuple[list[float], Arrays]] = []

    def work() -> None:
        start.wait()
        beside.append(trained(resnet))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(beside) == 2
    for losses, arrays in beside:
        assert losses == alone[0]
        check_equal(arrays, alone[1])


# --- what may be wrong with a machine -------------------------------------------------------------


def message(error: type[PycaffeClrError], work: Callable[[], object]) -> str:
    with pytest.raises(error) as raised:
        work()
    return str(raised.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("driver=0", "no CUDA device: there is no NVIDIA driver"),
        ("driver=12080", "for CUDA 12.8, and CUDA 13.0 is needed: install a newer driver"),
        ("major=7", "is of compute capability 7.6; 8.0 is the least"),
    ],
)
def test_a_machine_that_will_not_do(resnet, having, words, said):
    having(words)
    assert said in message(ConfigError, lambda: session_of(resnet))


def test_a_device_that_is_not_there(resnet, monkeypatch):
    monkeypatch.setattr(ready_core(), "backend_of", lambda *_: "cuda_host:8")
    assert "no CUDA device 8: there are 8" in message(ConfigError, lambda: session_of(resnet))


def test_out_of_memory_names_what_is_largest(resnet, having):
    net = resnet.parent / "net.prototxt"
    net.write_text(net.read_text().replace("batch_size: 4", "batch_size: 512"))
    having("memory=2000000")
    said = message(EngineError, lambda: session_of(resnet))
    assert "out of memory on CUDA device 0" in said and "batch_size" in said
    assert "Largest in this net: " in said and "(1024 KiB)" in said


def test_a_lost_device_ends_a_run_and_leaves_its_snapshot(resnet, having):
    _, whole = trained(resnet, 5)
    snapshot = lose_the_device(resnet, having)
    gc.collect()
    again = session_of(resnet)
    again.restore(snapshot)
    again.step(2)
    check_equal(arrays_of(again), whole)


def lose_the_device(solver: Path, having: Callable[[str], None]) -> Path:
    """The state of a run that lost it, of two iterations before or so."""
    session = session_of(solver)
    session.step(3)
    weights, state = session.snapshot()
    before = [path.read_bytes() for path in (weights, state)]
    files = sorted(solver.parent.iterdir())
    having("kernels=30")
    for _ in range(2):
        said = message(EngineError, lambda: session.step(2))
        assert "work on CUDA device 0 failed" in said and "PYCAFFE_CLR_SYNC=1" in said
    message(EngineError, session.snapshot)
    having("")
    assert [path.read_bytes() for path in (weights, state)] == before
    assert sorted(solver.parent.iterdir()) == files
    return state


def test_waiting_for_each_kernel_names_the_op(resnet, having, library):
    library.set_cuda_host_synchronous(1)
    try:
        session = session_of(resnet)
        having("kernels=2")
        said = message(EngineError, lambda: session.step(1))
    finally:
        library.set_cuda_host_synchronous(0)
    assert re.match(
        r"c0.* \(.*\), forward: the kernel launched at .*\.cuh?:\d+: work on CUDA", said
    )


# --- several processes, several runs --------------------------------------------------------------


@pytest.fixture
def start(pytestconfig: pytest.Config) -> Callable[[str], tuple[str, ...]]:
    """The command that runs main() of a module in a process which has the backend, too."""
    library = pytestconfig.getoption("--cuda-host")
    text = (
        "import ctypes, sys; from importlib import import_module; "
        "from pycaffe_clr.engine import ready_core; ready_core(); "
        f"ctypes.CDLL({library!r}).register_cuda_host_backend(); "
        "sys.exit(import_module(sys.argv[1]).main())"
    )
    return lambda module: (sys.executable, "-c", text, module)


FIELDS = {"device": "cuda_host", "threads": 1, "whole_test": False, "curve": False, "seed": 3}


def losses(folder: str) -> np.ndarray:
    return read_table(f"{folder}/metrics.csv")["loss"]


def test_ranks_on_two_devices_train_as_replicas(resnet, start, monkeypatch):
    monkeypatch.setattr(team, "COMMAND", start("pycaffe_clr.train.follow"))
    run(resnet, out="one", replicas=2, **FIELDS)
    run(resnet, out="two", ranks=2, **FIELDS)
    # And once more, in two parts.
    run(resnet, out="again", ranks=2, callbacks=[At(4, stop)], **FIELDS)
    run(resnet, out="again", resume=True, whole_test=False, curve=False)
    assert losses("two")[0] == losses("one")[0]
    np.testing.assert_allclose(losses("two"), losses("one"), 1e-3)
    name = "run_iter_8.caffemodel"
    assert Path("two", name).read_bytes() == Path("again", name).read_bytes()


def test_runs_on_one_device_have_a_stream_each(resnet, start, monkeypatch):
    monkeypatch.setattr(pool, "COMMAND", start("pycaffe_clr.experiments.worker"))
    fields = FIELDS | {"solver": str(resnet), "data_dir": str(resnet.parent)}
    specs = {n: RunSpec(out=f"beside/{n}", **fields | {"seed": n}) for n in (1, 2, 3)}
    outcomes = run_jobs([Job(name=f"{n}", spec=spec) for n, spec in specs.items()], at_once=3)
    assert [(o.state, o.reason) for o in outcomes] == [("finished", "")] * 3
    for n in specs:
        run(resnet, out=f"alone/{n}", **FIELDS | {"seed": n})
        assert np.array_equal(losses(f"beside/{n}"), losses(f"alone/{n}"))
