"""Bad input, through the whole command: one clear error, exit code 1, earlier snapshots whole."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import lmdb
import numpy as np
import pytest
from train_cases import NET, SOLVER, make_case

from pycaffe_clr import cli, proto
from pycaffe_clr.data.writer import write_records

IP = 'inner_product_param { num_output: 3 weight_filler { type: "xavier" } }'


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> Path:
    """A folder with databases, a net and a solver, none of them bad."""
    folder = tmp_path_factory.mktemp("good")
    make_case(folder)
    return folder


@pytest.fixture
def folder(case, tmp_path, monkeypatch) -> Path:
    """A copy to spoil, as working directory."""
    copy = tmp_path / "work"
    shutil.copytree(case, copy)
    monkeypatch.chdir(copy)
    return copy


@pytest.fixture
def fails(folder, capfd):
    """Runs a command line that must fail; its one error line."""

    def run(*words: str) -> str:
        capfd.readouterr()
        code = cli.main(list(words) or ["run", "tiny.prototxt", "--out", "out", "--threads", "1"])
        text = capfd.readouterr()
        assert code == 1, text.err
        assert "Traceback" not in text.err and "unexpected" not in text.err
        errors = [line for line in text.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, text.err
        return errors[0]

    return run


def spoil(text: str, old: str, new: str) -> str:
    assert old in text, old
    return text.replace(old, new, 1)


# What is spoilt in the net: (old, new, words that the error must have).
NETS = {
    "misspelt field": (
        "kernel_size: 3",
        "kernal_size: 3",
        ["net.prototxt:15:37", "kernal_size", "kernel_size"],
    ),
    "misspelt type": ('"Convolution"', '"Convolutoin"', ["net.prototxt:", "Convolutoin"]),
    "misspelt filler": ('"msra"', '"mrsa"', ["'conv'", "mrsa", "msra"]),
    "missing bottom": (
        'bottom: "data" top: "conv"',
        'bottom: "dta" top: "conv"',
        ["'conv'", "dta"],
    ),
    "no bottom": ('bottom: "data" top: "conv"', 'top: "conv"', ["'conv'", "bottom"]),
    "two makers": ('top: "loss" }', 'top: "ip" }', ["'loss'", "ip"]),
    "kernel too large": ("kernel_size: 3", "kernel_size: 30", ["'conv'", "30", "8"]),
    "loss of another shape": (IP, f"{IP[:-1]} axis: 2 }}", ["'loss'", "label"]),
    "batch of 0": ("batch_size: 6", "batch_size: 0", ["'data'", "batch_size"]),
    "huge batch": ("batch_size: 6", "batch_size: 4000000000", ["'data'"]),
    "crop too large": ("crop_size: 8 mirror", "crop_size: 11 mirror", ["'data'", "11", "10"]),
    "no outputs": ("num_output: 4", "num_output: 0", ["'conv'", "num_output"]),
    "label out of range": ("num_output: 3", "num_output: 2", ["label", "2 classes"]),
    "stride of 0": ("kernel_size: 3", "kernel_size: 3 stride: 0", ["'conv'", "stride"]),
    "groups that do not divide": ("kernel_size: 3", "kernel_size: 3 group: 3", ["'conv'", "group"]),
    "dropout of 2": (
        'type: "Dropout"',
        'type: "Dropout" dropout_param { dropout_ratio: 2 }',
        ["'drop'"],
    ),
    "missing mean file": ("mirror: true", 'mean_file: "no.binaryproto"', ["no.binaryproto"]),
    "unclosed layer": ('top: "loss" }', 'top: "loss"', ["net.prototxt:"]),
}
SOLVERS = {
    "misspelt field": ("base_lr", "base_rl", ["tiny.prototxt:", "base_rl", "base_lr"]),
    "unknown policy": ('"1cycle"', '"1cylce"', ["1cylce", "1cycle", "triangular"]),
    "unknown type": ('"Nesterov"', '"Nestorov"', ["Nestorov", "Nesterov"]),
    "no step size": ("stepsize: 25", "", ["stepsize"]),
    "no net": ('net: "net.prototxt"', 'net: "nte.prototxt"', ["nte.prototxt", "--set net="]),
    "tests without batches": ("test_iter: 3", "test_iter: 0", ["test_iter"]),
}


@pytest.mark.parametrize("what", NETS)
def test_a_bad_net_is_one_error(what, folder, fails):
    old, new, words = NETS[what]
    (folder / "net.prototxt").write_text(spoil(NET, old, new))
    error = fails()
    assert all(word in error for word in words), error
    assert not (folder / "out" / "snapshots").exists()


@pytest.mark.parametrize("what", SOLVERS)
def test_a_bad_solver_is_one_error(what, folder, fails):
    old, new, words = SOLVERS[what]
    (folder / "tiny.prototxt").write_text(spoil(SOLVER, old, new))
    error = fails()
    assert all(word in error for word in words), error


# --- databases ------------------------------------------------------------------------------------


def put(path: Path, number: int, value: bytes) -> None:
    """Replace one record's bytes."""
    environment = lmdb.open(str(path), map_size=1 << 22)
    with environment.begin(write=True) as transaction:
        transaction.put(f"{number:08d}".encode(), value)
    environment.close()


def test_a_missing_database(folder, fails):
    shutil.rmtree(folder / "tiny" / "train")
    error = fails()
    assert "tiny/train" in error


def test_an_empty_database(folder, fails):
    shutil.rmtree(folder / "tiny" / "train")
    lmdb.open(str(folder / "tiny" / "train"), map_size=1 << 20).close()
    error = fails()
    assert "tiny/train" in error and ("no record" in error or "empty" in error)


@pytest.mark.parametrize("keep", [0, 1, 4096, 9000])
def test_a_truncated_database(keep, folder, fails):
    file = folder / "tiny" / "train" / "data.mdb"
    file.write_bytes(file.read_bytes()[:keep])
    assert "tiny/train" in fails()


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x08\x02\x10\x0a\x18\x0a\x22\x7f",
        proto.Datum(channels=2, height=10, width=10, data=b"short").SerializeToString(),
        proto.Datum(channels=-2, height=10, width=10, data=b"").SerializeToString(),
        proto.Datum(channels=1 << 30, height=1 << 30, width=9, data=b"x").SerializeToString(),
        proto.Datum(channels=3, height=9, width=9, data=bytes(243)).SerializeToString(),
        proto.Datum(encoded=True, data=b"\x89PNG").SerializeToString(),
    ],
    ids=["nothing", "noise", "cut", "short", "negative", "huge", "other shape", "compressed"],
)
def test_a_broken_datum_is_named_by_its_number(value, folder, fails):
    put(folder / "tiny" / "train", 17, value)
    error = fails()
    assert "tiny/train" in error and "17" in error, error


def test_a_label_out_of_range_is_named(folder, fails):
    images = np.zeros((37, 2, 10, 10), np.uint8)
    write_records(folder / "tiny" / "train", images, np.arange(37) - 1, 8, force=True)
    error = fails()
    assert "'loss'" in error and "label" in error


# --- weights and states ---------------------------------------------------------------------------


@pytest.fixture
def trained(folder, fails) -> Path:
    """Snapshots of three iterations in snaps/, made by `train`."""
    text = spoil(SOLVER, "max_iter: 60", "max_iter: 3")
    text = spoil(spoil(text, "elsewhere/tiny", "snaps/tiny"), "snapshot: 40\n", "")
    (folder / "tiny.prototxt").write_text(text)
    assert cli.main(["train", "--solver", "tiny.prototxt", "--threads", "1"]) == 0
    return folder / "snaps"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_weights_of_another_net_name_the_layer_and_both_shapes(folder, trained, fails):
    before = contents(trained)
    (folder / "net.prototxt").write_text(spoil(NET, "num_output: 4", "num_output: 5"))
    error = fails("train", "--solver", "tiny.prototxt", "--weights", "snaps/tiny_iter_3.caffemodel")
    assert "'conv'" in error and "4, 2, 3, 3" in error and "5, 2, 3, 3" in error, error
    assert contents(trained) == before


def test_a_state_of_another_net_changes_nothing(folder, trained, fails):
    before = contents(trained)
    (folder / "net.prototxt").write_text(spoil(NET, "num_output: 3", "num_output: 6"))
    error = fails(
        "train", "--solver", "tiny.prototxt", "--snapshot", "snaps/tiny_iter_3.solverstate"
    )
    assert "tiny_iter_3" in error
    assert contents(trained) == before


@pytest.mark.parametrize("flag", ["--weights", "--snapshot"])
@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 64, b"\xff" * 64, b"\x89HDF\r\n\x1a\n" + b"\0" * 64]
)
def test_files_that_are_no_snapshots(flag, content, folder, fails):
    (folder / "bad").write_bytes(content)
    assert "bad" in fails("train", "--solver", "tiny.prototxt", flag, "bad")


def test_files_that_are_not_there(folder, fails):
    for flag in ("--weights", "--snapshot"):
        assert "nothing.here" in fails("train", "--solver", "tiny.prototxt", flag, "nothing.here")


def test_a_weights_file_in_place_of_a_state(folder, trained, fails):
    error = fails(
        "train", "--solver", "tiny.prototxt", "--snapshot", "snaps/tiny_iter_3.caffemodel"
    )
    assert "tiny_iter_3.caffemodel" in error


def test_a_full_disk_leaves_the_earlier_snapshot_whole(folder, trained):
    """A limit on the size of files stands for the disk: the weights do not fit under it."""
    before = contents(trained)
    (folder / "net.prototxt").write_text(spoil(NET, "num_output: 3", "num_output: 1000"))
    done = subprocess.run(
        [sys.executable, "-m", "pycaffe_clr", "train", "--solver", "tiny.prototxt"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, 1 << 18)),
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 1 and len(errors) == 1, done.stderr
    assert "snaps" in errors[0] and "Traceback" not in done.stderr
    assert contents(trained) == before


def test_a_loss_that_is_no_number_stops_the_run_and_spares_its_snapshots(folder, trained, fails):
    before = contents(trained)
    text = (folder / "tiny.prototxt").read_text()
    text = spoil(text, "max_lr: 0.1", "max_lr: 1e30")
    (folder / "tiny.prototxt").write_text(text.replace("max_iter: 3", "max_iter: 50"))
    error = fails("train", "--solver", "tiny.prototxt")
    assert "nan" in error or "inf" in error
    assert "iteration" in error and "lr" in error
    assert contents(trained) == before
