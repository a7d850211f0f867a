"""Finding what a prototxt names on this machine."""

import pytest

from pycaffe_clr.data import LmdbSource, resolve, sample
from pycaffe_clr.errors import DataError


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A working directory, a data folder and the environment's one."""
    for name in ("here", "data", "env"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PYCAFFE_CLR_DATA", str(tmp_path / "env"))
    return tmp_path


def put(folder, name):
    (folder / name).mkdir(parents=True)
    (folder / name / "data.mdb").touch()
    return folder / name


def test_a_relative_path_is_sought_here_then_in_the_data_folders(places):
    said = []
    name = "examples/mnist/mnist_train_lmdb"
    in_env = put(places / "env", name)
    assert resolve(name, report=said.append) == in_env
    in_data = put(places / "data", name)
    assert resolve(name, places / "data", report=said.append) == in_data
    assert said == [f"database {name}: using {in_env}", f"database {name}: using {in_data}"]
    put(places / "here", name)
    assert str(resolve(name, places / "data", report=said.append)) == name
    assert len(said) == 2


def test_an_absolute_path_that_is_elsewhere_is_found_by_its_last_parts(places):
    said = []
    name = "/gpfs/scratch/someone/data/imagenet/train_lmdb"
    short = put(places / "data", "train_lmdb")
    assert resolve(name, places / "data", report=said.append) == short
    longer = put(places / "env", "data/imagenet/train_lmdb")
    assert resolve(name, places / "data", report=said.append) == longer
    assert said[-1] == f"database {name}: using {longer}"
    there = put(places, "exact")
    assert resolve(there, report=said.append) == there and len(said) == 2


def test_an_empty_folder_is_no_database(places):
    (places / "here" / "x_lmdb").mkdir()
    elsewhere = put(places / "data", "x_lmdb")
    assert resolve("x_lmdb", places / "data") == elsewhere


@pytest.mark.parametrize(
    "path, command",
    [
        ("examples/cifar10/cifar10_train_lmdb", "pycaffe_clr data cifar10 --root D"),
        ("data/cifar100/mean.binaryproto", "pycaffe_clr data cifar100 --root D"),
        ("/a/mnist-user/cifar10/train_lmdb", "pycaffe_clr data cifar10 --root D"),
        ("/a/imagenet/val_lmdb", "pycaffe_clr data synthetic --like imagenet --root D"),
        ("own_lmdb", "--data-dir or PYCAFFE_CLR_DATA"),
    ],
)
def test_what_is_missing_is_named_with_every_place_and_the_command(places, path, command):
    with pytest.raises(DataError) as caught:
        resolve(path, "D", kind="mean file")
    message = str(caught.value)
    assert f"{path}: no such mean file" in message and command in message
    assert "D/" in message and str(places / "env") in message
    with pytest.raises(DataError, match="empty path"):
        resolve("")


def test_the_sample_is_made_when_it_is_asked_for(places, monkeypatch):
    said = []
    monkeypatch.setenv("PYCAFFE_CLR_CACHE", str(places / "cache"))
    path = resolve("sample/mnist_train_lmdb", report=said.append)
    assert path == places / "cache" / sample.TRAIN_LMDB and "sample in the package" in said[0]
    assert len(LmdbSource(path)) == 10000
    assert resolve("sample/mnist_test_lmdb", report=said.append).is_dir()
