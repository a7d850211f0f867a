"""Several processes that train one net: as replicas of it in one process, and how they end."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from train_cases import NET, make_case

from pycaffe_clr import devices
from pycaffe_clr.cli import run as command
from pycaffe_clr.data import datum, pictures
from pycaffe_clr.data.writer import DatabaseWriter
from pycaffe_clr.errors import ConfigError, DataError, EngineError
from pycaffe_clr.train import checkpoint, meeting, team
from pycaffe_clr.train.meeting import Place, meet, place_of
from pycaffe_clr.train.ranks import device_of
from pycaffe_clr.train.run import run
from pycaffe_clr.train.run_folder import CHECKPOINT
from pycaffe_clr.train.tables import read_table
from pycaffe_clr.weights import read_weights

# Gradients are summed in another order; there is nothing else that may differ.
TOLERANCE = 1e-3
LAUNCHERS = [
    "RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE".split(),
    [f"OMPI_COMM_WORLD_{w}" for w in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")],
]


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> str:
    """The tiny solver, in the working directory."""
    monkeypatch.chdir(tmp_path)
    return str(make_case(tmp_path))


def train(case: str, out: str, **settings: object):
    given = {"threads": 1, "curve": False, "whole_test": False, "device": "kernels"}
    return run(case, out=out, **(given | settings))


def assert_alike(one: str, two: str) -> None:
    for table, columns in (("metrics.csv", ["loss", "lr"]), ("tests.csv", ["accuracy", "loss"])):
        a, b = read_table(f"{one}/{table}"), read_table(f"{two}/{table}")
        for column in columns:
            np.testing.assert_allclose(b[column], a[column], TOLERANCE, 1e-4)
    a, b = (read_weights(f"{out}/tiny_iter_60.caffemodel") for out in (one, two))
    for layer, blobs in a.items():
        for mine, theirs in zip(blobs, b[layer], strict=True):
            np.testing.assert_allclose(theirs, mine, TOLERANCE, 1e-3, err_msg=layer)


class At:
    """Does something in a run once it has made so many iterations."""

    def __init__(self, iteration: int, act) -> None:
        self._iteration, self._act = iteration, act

    def started(self, run) -> None:
        self._run = run

    def rows(self, rows) -> None:
        if self._act and rows[-1].iteration + 1 >= self._iteration:
            act, self._act = self._act, None
            act(self._run)


def stop(run) -> None:
    run.session.stop()


def children() -> list[int]:
    """The processes that this one has started."""
    return [int(n) for n in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


# --- the same numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize(("ranks", "replicas"), [(2, 2), (3, 3), (2, 4)])
def test_ranks_train_as_replicas_do(case, ranks, replicas):
    one = train(case, "one", replicas=replicas)
    two = train(case, "two", ranks=ranks, replicas=replicas if replicas > ranks else None)
    for name in ("batch", "replicas", "epochs", "images"):
        assert one.record[name] == two.record[name], name
    assert two.record["ranks"] == ranks
    assert_alike("one", "two")
    assert not children()


@pytest.mark.parametrize(("first", "then"), [(2, 2), (2, 1), (1, 2)])
def test_a_stopped_run_goes_on_with_other_ranks(case, first, then):
    train(case, "whole", replicas=2)
    stopped = train(case, "out", replicas=2, ranks=first, callbacks=[At(17, stop)])
    assert stopped.state == "stopped" and 17 <= stopped.iteration < 60
    gone_on = train(case, "out", resume=True, ranks=then)
    assert gone_on.state == "finished" and gone_on.record["replicas"] == 2
    assert_alike("whole", "out")


def test_a_resume_with_the_same_ranks_is_bit_for_bit(case):
    train(case, "whole", ranks=2)
    train(case, "out", ranks=2, callbacks=[At(17, stop)])
    assert train(case, "out", resume=True).record["ranks"] == 2
    for name in ("metrics.csv", "tests.csv", "tiny_iter_60.caffemodel"):
        assert Path("out", name).read_bytes() == Path("whole", name).read_bytes(), name


def test_ranks_read_their_share_of_a_database_that_is_not_held(case):
    images = np.random.default_rng(0).uniform(0, 200, (37, 2, 10, 10)).astype(np.float32)
    with DatabaseWriter(Path("tiny/train"), force=True) as writer:
        for i, image in enumerate(images):
            writer.put(f"{i:08d}".encode(), datum.encode(image + 20 * (i % 3), i % 3))
    train(case, "one", replicas=4)
    train(case, "two", ranks=2, replicas=4)
    assert_alike("one", "two")


@pytest.mark.parametrize("kind", ["ImageData", "HDF5Data", "WindowData"])
def test_ranks_read_their_share_of_files(case, kind):
    random = np.random.default_rng(0)
    images = (
        random.integers(0, 200, (13, 3, 10, 10)) + 20 * (np.arange(13) % 3)[:, None, None, None]
    )
    for n, image in enumerate(images):
        Path(f"{n}.png").write_bytes(pictures.encode(image.astype(np.uint8), "png"))
    with h5py.File("all.h5", "w") as file:
        file["data"] = images.astype(np.float32)
        file["label"] = np.arange(13) % 3
    window = "# {n}\n{n}.png\n3\n10\n10\n2\n{label} 0.9 0 0 8 8\n1 0.1 2 1 9 9"
    lines, field, more = {
        "ImageData": (
            [f"{n}.png {n % 3}" for n in range(13)],
            "image_data_param { shuffle: true",
            "transform_param { mirror: true }",
        ),
        "HDF5Data": (["all.h5"], "hdf5_data_param { shuffle: true", ""),
        "WindowData": (
            [window.format(n=n, label=1 + n % 2) for n in range(13)],
            "window_data_param {",
            "transform_param { crop_size: 8 mirror: true }",
        ),
    }[kind]
    Path("list").write_text("".join(f"{line}\n" for line in lines))
    layer = f"""layer {{ name: "data" type: "{kind}" top: "data" top: "label" {more}
      {field} source: "list" batch_size: 6 }} }}"""
    net = Path("net.prototxt").read_text()
    Path("net.prototxt").write_text(layer + net[net.index('layer {\n  name: "conv"') :])
    train(case, "one", replicas=2)
    train(case, "two", ranks=2)
    assert_alike("one", "two")


def test_a_run_with_ranks_starts_from_weights(case):
    train(case, "first", max_iter=5)
    weights = "first/tiny_iter_5.caffemodel"
    train(case, "one", weights=weights, replicas=2)
    train(case, "two", weights=weights, ranks=2)
    assert_alike("one", "two")


# --- launchers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", LAUNCHERS)
def test_ranks_of_a_launcher_train_together(case, names, free_port):
    train(case, "one", replicas=2)
    words = "-m pycaffe_clr run tiny.prototxt --out two --threads 1 --no-curve --device kernels"
    processes = []
    for rank in ("0", "1"):
        values = dict(zip(names, (rank, "2", rank, "2"), strict=True))
        values |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port)}
        processes.append(
            subprocess.Popen(
                [sys.executable, *words.split(), "--no-whole-test"],
                env={**os.environ, **values},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    said = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert "parameters, 2 ranks, cpu, 1 threads" in said[0]
    assert "Iteration 50" in said[0] and not said[1]
    assert_alike("one", "two")


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize("names", LAUNCHERS)
def test_a_launcher_says_who_is_who(names):
    rank, size, local, local_size = names
    assert place_of({}) is None
    assert place_of({rank: "0", size: "1"}) is None
    assert place_of({rank: "3"}) is None
    found = {rank: "5", size: "8", local: "1", local_size: "4", "MASTER_ADDR": "one"}
    assert place_of(found | {"MASTER_PORT": "777"}) == Place(5, 8, 1, 4, "one", 777)
    assert place_of({rank: "1", size: "2"}) == Place(1, 2, 1, 2, "127.0.0.1", 29500)
    torchrun = found | {"MASTER_PORT": "777", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    assert place_of(torchrun).port == 778
    for wrong, what in [
        ({rank: "8"}, "count from 0"),
        ({rank: "one"}, "whole number"),
        ({"MASTER_PORT": "0"}, "a port"),
        ({"MASTER_ADDR": ""}, "MASTER_ADDR"),
    ]:
        with pytest.raises(ConfigError, match=what):
            place_of(found | wrong)


def test_devices_are_given_out_by_rank():
    assert [device_of("cuda", rank) for rank in (0, 1)] == ["cuda:0", "cuda:1"]
    assert [device_of("cuda:2,0", rank) for rank in (0, 1)] == ["cuda:2", "cuda:0"]
    assert device_of("cpu", 1) == "cpu"
    assert device_of("cuda:1", 0, several=False) == "cuda:1"
    assert device_of("cuda:1", 1) == "cuda:2"
    for wrong in ("cuda:x", "cuda:1,1", "cuda:0,x"):
        with pytest.raises(ConfigError, match=wrong):
            device_of(wrong, 0)


def test_gpu_means_a_rank_on_each(monkeypatch):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)

    def spec(*words: str):
        return command.spec_of(parser.parse_args(["x", *words]))

    monkeypatch.setattr(devices, "backend_of", lambda device: "cuda")
    monkeypatch.setattr(devices, "gpus", lambda: (["one", "two", "three"], ""))
    assert spec("--gpu", "0,2").device == "cuda:0,2"
    assert spec("--gpu", "all").device == "cuda:0,1,2"
    assert spec("--gpu", "1").device == "cuda:1"
    for words, what in [(["--gpu", "0,3"], "are 3 GPUs"), (["--gpu=0", "--device=cpu"], "exclude")]:
        with pytest.raises(ConfigError, match=what):
            spec(*words)
    # Without any the batch is what it would be, and so are the numbers.
    monkeypatch.setattr(devices, "gpus", lambda: ([], "no driver"))
    found = spec("--gpu", "0,1")
    assert (found.device, found.replicas, found.ranks) == ("cpu", 2, None)


# --- meeting --------------------------------------------------------------------------------------


def gather(places: list[Place], seconds: float, monkeypatch) -> list[object]:
    """What came of these ranks' meeting, in their order."""
    monkeypatch.setenv(meeting.TIMEOUT_VARIABLE, str(seconds))
    found: list[object] = [None] * len(places)

    def one(index: int) -> None:
        try:
            found[index] = meet(places[index])
        except (ConfigError, EngineError) as error:
            found[index] = str(error)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(places))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_ranks_meet_in_a_ring_whoever_else_knocks(free_port, monkeypatch):
    places = [Place(rank, 3, rank, 3, "127.0.0.1", free_port, "key") for rank in (2, 0, 1)]

    def knock() -> None:
        for words in (b"", b"GET / HTTP/1.1\r\n\r\n", b'{"pycaffe_clr": 1}\n', b"x" * 9000):
            while not over.is_set():
                try:
                    with socket.create_connection(("127.0.0.1", free_port)) as stranger:
                        stranger.sendall(words)
                    break
                except OSError:
                    time.sleep(0.01)

    over = threading.Event()
    stranger = threading.Thread(target=knock)
    stranger.start()
    time.sleep(0.05)
    found = gather(places, 20, monkeypatch)
    over.set()
    stranger.join()
    met = {place.rank: each for place, each in zip(places, found, strict=True)}
    assert all(isinstance(each, meeting.Meeting) for each in met.values()), met
    for rank, each in met.items():
        each.ring[1].sendall(bytes([rank]))
    for rank, each in met.items():
        assert each.ring[0].recv(1) == bytes([(rank - 1) % 3])
    for rank in (1, 2):
        meeting.tell(met[0].words[rank], {"to": rank})
        assert meeting.hear(met[rank].words[0]) == {"to": rank}
    for each in met.values():
        each.close()


def test_who_does_not_come_is_named(free_port, monkeypatch):
    place = Place(0, 3, 0, 3, "127.0.0.1", free_port)
    root, one = gather([place, place._replace(rank=1)], 0.5, monkeypatch)
    assert "rank 2 did not come within 0.5 s" in root
    assert isinstance(one, str)
    (alone,) = gather([place._replace(rank=1)], 0.3, monkeypatch)
    assert f"rank 0 does not answer at 127.0.0.1:{free_port}" in alone


def test_ranks_of_different_runs_do_not_meet(free_port, monkeypatch):
    place = Place(0, 2, 0, 2, "127.0.0.1", free_port, "key")
    for other, why in [
        (place._replace(rank=1, ranks=3), "number of ranks is 3, that of rank 0 2"),
        (place._replace(rank=1, key="another"), "left without a word"),
    ]:
        root, one = gather([place, other], 0.5, monkeypatch)
        assert "did not come" in root and why in one


# --- trouble --------------------------------------------------------------------------------------


def test_a_rank_that_is_killed_ends_the_run(case):
    def kill(_) -> None:
        os.kill(children()[0], signal.SIGKILL)

    with pytest.raises(EngineError, match=r"rank 1 of 2: its process has ended by SIGKILL"):
        train(case, "out", ranks=2, checkpoint_every=0, callbacks=[At(25, kill)])
    assert not children()
    assert checkpoint.read(Path("out", CHECKPOINT)).header["iteration"] >= 25
    train(case, "whole", ranks=2)
    assert train(case, "out", resume=True).state == "finished"
    assert Path("out/metrics.csv").read_bytes() == Path("whole/metrics.csv").read_bytes()


def test_a_rank_that_lives_and_does_nothing_is_not_waited_for(case, monkeypatch):
    monkeypatch.setattr(meeting, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(team, "_LAST_WORDS_SECONDS", 0.3)

    def stop_it(_) -> None:
        os.kill(children()[0], signal.SIGSTOP)

    with pytest.raises(EngineError, match=r"waited 0\.3 s for rank 1, .* has not ended"):
        train(case, "out", ranks=2, checkpoint_every=0, callbacks=[At(25, stop_it)])
    assert not children()
    assert checkpoint.read(Path("out", CHECKPOINT)).header["iteration"] >= 25
    assert train(case, "out", resume=True).state == "finished"


def test_what_one_rank_cannot_do_is_said_once(case):
    net = Path("net.prototxt")
    # The labels are 0, 1, 2, 0, ..., and rank 2 takes each third record.
    net.write_text(NET.replace("num_output: 3", "num_output: 2"))
    with pytest.raises(DataError, match=r"^rank 2 of 3: layer 'loss': the label of sample 0 "):
        train(case, "out", ranks=3, sets={"test_initialization": "false"})
    assert not children()


def test_ranks_end_where_rank_0_does(case):
    diverged = train(case, "out", ranks=2, sets={"base_lr": "1e30", "max_lr": "1e31"})
    assert diverged.state == "diverged" and not children()
    early = train(case, "early", ranks=2, callbacks=[lambda event: "stop: enough"])
    assert early.state == "ended early" and early.reason == "enough" and not children()

    def fail(_) -> None:
        raise RuntimeError("of its own")

    with pytest.raises(RuntimeError, match="of its own"):
        train(case, "failed", ranks=2, callbacks=[At(9, fail)])
    assert not children()


def test_a_rank_that_cannot_start_is_not_waited_for(case, monkeypatch):
    monkeypatch.setattr(team, "COMMAND", (sys.executable, "-S", "-c", "raise SystemExit('why')"))
    with pytest.raises(EngineError, match="rank 1 of 2: its process has ended with exit code 1: w"):
        train(case, "out", ranks=2)


def test_a_rank_0_that_is_killed_leaves_nobody(case):
    words = "-m pycaffe_clr run tiny.prototxt --out out --ranks 2 --max-iter 1000000 --threads 1"
    root = subprocess.Popen(
        [sys.executable, *words.split()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 30
        found: list[str] = []
        while not (found and Path("out/metrics.csv").exists()):
            assert root.poll() is None and time.monotonic() < end
            time.sleep(0.02)
            found = Path(f"/proc/{root.pid}/task/{root.pid}/children").read_text().split()
    finally:
        root.kill()
        root.wait()
    while any(Path(f"/proc/{pid}").exists() for pid in found):
        assert time.monotonic() < end, found
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"ranks": 2, "replicas": 3}, "cannot be shared equally by 2 ranks"),
        ({"ranks": 2, "device": "cuda:0,1,2"}, "names 3 devices for 2 ranks"),
        ({"ranks": 2, "sets": {"debug_info": "true"}}, "debug_info"),
    ],
)
def test_ranks_that_make_no_sense_are_refused(case, settings, what):
    with pytest.raises(ConfigError, match=what):
        train(case, "out", **settings)
    assert not children()


def test_a_callback_that_changes_gradients_is_refused(case):
    class Gradients:
        def gradients(self, net) -> None:
            pass

    with pytest.raises(ConfigError, match="callback"):
        train(case, "out", ranks=2, callbacks=[Gradients()])


def test_ctrl_c_stops_all_ranks(case):
    words = "run tiny.prototxt --out out --ranks 2 --max-iter 1000000 --threads 1 --no-curve"
    root = subprocess.Popen([sys.executable, "-m", "pycaffe_clr", *words.split()])
    try:
        end = time.monotonic() + 30
        while not (
            Path("out/metrics.csv").exists() and Path("out/metrics.csv").stat().st_size > 99
        ):
            assert root.poll() is None and time.monotonic() < end
            time.sleep(0.02)
        root.send_signal(signal.SIGINT)
        assert root.wait(30) == 130
    finally:
        root.kill()
        root.wait()
    assert checkpoint.read(Path("out", CHECKPOINT)).header["iteration"] > 0
