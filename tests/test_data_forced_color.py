"""force_color and force_gray of a Data layer's transform_param, as Caffe obeys them."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import lmdb
import numpy as np
import pytest

import pycaffe_clr as caffe
from pycaffe_clr import proto
from pycaffe_clr.data import writer

image_module = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.usefixtures("one_thread")

NET = """
layer {{
  name: "data" type: "Data" top: "data" top: "label"
  transform_param {{ {transform} }}
  data_param {{ source: "{source}" batch_size: 2 }}
}}
"""


def compressed(folder: Path, mode: str, colour: object) -> Path:
    """A database of one PNG."""
    file = io.BytesIO()
    image_module.new(mode, (8, 6), colour).save(file, "PNG")
    value = proto.Datum(encoded=True, data=file.getvalue(), label=1).SerializeToString()
    with lmdb.open(str(folder), map_size=1 << 20) as environment:
        with environment.begin(write=True) as transaction:
            transaction.put(b"0", value)
    return folder


def data(folder: Path, source: Path, transform: str) -> np.ndarray:
    """What the Data layer makes of a database's first batch."""
    path = folder / "net.prototxt"
    path.write_text(NET.format(source=source, transform=transform))
    net = caffe.Net(str(path), caffe.TEST)
    net.forward()
    return np.array(net.blobs["data"].data)


def test_gray_images_get_three_equal_channels(tmp_path, caplog):
    source = compressed(tmp_path / "db", "L", 77)
    assert data(tmp_path, source, "").shape == (2, 1, 6, 8)
    forced = data(tmp_path, source, "force_color: true")
    assert forced.shape == (2, 3, 6, 8) and np.all(forced == 77)
    assert data(tmp_path, source, "force_color: false force_gray: true").shape == (2, 1, 6, 8)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_colours_become_their_luma(tmp_path):
    source = compressed(tmp_path / "db", "RGB", (200, 100, 50))
    own = data(tmp_path, source, "")
    assert own.shape == (2, 3, 6, 8) and own[0, :, 0, 0].tolist() == [50, 100, 200]
    forced = data(tmp_path, source, "force_gray: true")
    assert forced.shape == (2, 1, 6, 8)
    # OpenCV's weights: 0.299 R + 0.587 G + 0.114 B.
    assert np.all(np.abs(forced - (0.299 * 200 + 0.587 * 100 + 0.114 * 50)) <= 1)


def test_a_train_and_a_test_net_may_read_one_database_differently(tmp_path):
    source = compressed(tmp_path / "db", "L", 5)
    text = (NET * 2).format(source=source, transform="force_color: true")
    text = text.replace('name: "data"', 'name: "plain"', 1).replace('"data" top: "label"', '"a"', 1)
    text = text.replace("force_color: true", "", 1)
    (tmp_path / "net.prototxt").write_text(text)
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    assert net.blobs["a"].shape == (2, 1, 6, 8) and net.blobs["data"].shape == (2, 3, 6, 8)


@pytest.mark.parametrize("field", ["force_color", "force_gray"])
def test_uncompressed_records_stay_as_they_are_with_a_warning(tmp_path, caplog, field):
    writer.write_records(tmp_path / "db", np.full((2, 2, 6, 8), 9, np.uint8), np.zeros(2), 8)
    assert data(tmp_path, tmp_path / "db", f"{field}: true").shape == (2, 2, 6, 8)
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    said = record.getMessage()
    assert field in said and "layer 'data'" in said and "net.prototxt:2" in said


def test_both_at_once_are_refused(tmp_path):
    source = compressed(tmp_path / "db", "L", 5)
    with pytest.raises(caffe.ConfigError, match=r"net.prototxt:2: layer 'data'.*both force_color"):
        data(tmp_path, source, "force_color: true force_gray: true")
