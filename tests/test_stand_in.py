"""`show` puts blank records where a database is missing and its path tells the shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pycaffe_clr import cli
from pycaffe_clr.cli.stand_in import StandIn
from pycaffe_clr.data import writer
from pycaffe_clr.errors import DataError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYCAFFE_CLR_DATA", raising=False)


@pytest.mark.parametrize(
    ("source", "shape"),
    [
        ("examples/mnist/mnist_train_lmdb", (1, 28, 28)),
        ("/data/CIFAR10/train", (3, 32, 32)),
        ("cifar100_lmdb", (3, 32, 32)),
        ("ilsvrc12_train_lmdb", (3, 256, 256)),
        ("imagenet/val", (3, 256, 256)),
    ],
)
def test_the_shape_is_that_of_the_set(source, shape, caplog):
    feed = StandIn().feed({"source": source}, "here")
    assert tuple(feed.shape) == shape
    assert source in caplog.text and str(shape) in caplog.text


def test_a_database_that_is_there_is_taken(caplog):
    writer.write_records(Path("my_mnist"), np.ones((3, 2, 5, 5), np.uint8), np.zeros(3), 8)
    assert tuple(StandIn().feed({"source": "my_mnist"}, "here").shape) == (2, 5, 5)
    assert not caplog.records


def test_other_databases_must_be_there():
    with pytest.raises(DataError, match="flowers: no such database"):
        StandIn().feed({"source": "flowers"}, "here")


def test_means_that_are_missing_are_zero():
    assert (StandIn().mean("mean.binaryproto", (3, 2, 2)) == np.zeros((3, 2, 2))).all()


def test_the_plan_of_a_net_without_its_data_is_shown(capsys):
    Path("net.prototxt").write_text(
        'layer { name: "data" type: "Data" top: "data" top: "label" '
        'transform_param { mean_file: "mean.binaryproto" } '
        'data_param { source: "cifar10/train" batch_size: 5 } } '
        'layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" '
        "inner_product_param { num_output: 10 } } "
        'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }'
    )
    assert cli.main(["show", "net.prototxt"]) == 0
    said = capsys.readouterr()
    assert "30,730 parameters" in said.out  # 3072 x 10 + 10
    assert "blank records" in said.err
