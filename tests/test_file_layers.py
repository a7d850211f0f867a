"""Layers that read and write files: HDF5Data, HDF5Output, ImageData, WindowData, InfogainLoss."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

import pycaffe_clr as caffe
from pycaffe_clr.data import pictures
from pycaffe_clr.data.mean import encode_mean
from pycaffe_clr.data.windows import Sampling, warp
from pycaffe_clr.errors import ConfigError, DataError


def net_of(folder: Path, text: str, phase: int = caffe.TRAIN, **settings) -> caffe.Net:
    file = folder / "net.prototxt"
    file.write_text(text)
    return caffe.Net(file, phase, seed=1, device="reference", **settings)


def hdf5_list(folder: Path, rows=(3, 2)) -> Path:
    first = 0
    for number, count in enumerate(rows):
        with h5py.File(folder / f"{number}.h5", "w") as file:
            ids = np.arange(first, first + count)
            file["data"] = np.repeat(ids, 4).reshape(count, 2, 2).astype(np.float32)
            file["label"] = ids.astype(np.int64)
        first += count
    path = folder / "list.txt"
    path.write_text("".join(f"{folder}/{number}.h5\n" for number in range(len(rows))))
    return path


def hdf5_net(folder: Path, batch: int, more: str = "") -> caffe.Net:
    source = folder / "list.txt"
    return net_of(
        folder,
        f"""layer {{ name: "d" type: "HDF5Data" top: "data" top: "label"
          hdf5_data_param {{ source: "{source}" batch_size: {batch} {more} }} }}""",
    )


def test_hdf5_data_goes_through_its_files_row_by_row(tmp_path):
    hdf5_list(tmp_path)
    net = hdf5_net(tmp_path, 4)
    seen = []
    for _ in range(3):
        net.forward()
        assert net.blobs["data"].data.shape == (4, 2, 2)
        assert np.array_equal(net.blobs["data"].data[:, 1, 1], net.blobs["label"].data)
        seen += net.blobs["label"].data.astype(int).tolist()
    assert seen == [i % 5 for i in range(12)]


def test_hdf5_data_shuffles_every_round_anew(tmp_path):
    hdf5_list(tmp_path, (4, 6))
    net = hdf5_net(tmp_path, 10, "shuffle: true")
    rounds = []
    for _ in range(3):
        net.forward()
        assert np.array_equal(net.blobs["data"].data[:, 0, 0], net.blobs["label"].data)
        rounds.append(net.blobs["label"].data.astype(int).tolist())
    assert all(sorted(each) == list(range(10)) for each in rounds)
    assert len({tuple(each) for each in rounds}) == 3


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "1.h5").write_bytes(b"no"), "cannot be read as HDF5"),
        (lambda f: (f / "list.txt").write_text("\n"), "the list is empty"),
        (lambda f: (f / "list.txt").write_text("gone.h5\n"), "gone.h5"),
        (lambda f: h5py.File(f / "0.h5", "a").pop("label"), "no dataset 'label'"),
        (lambda f: h5py.File(f / "1.h5", "w").create_dataset("data", (2, 3), "f4"), "2x2"),
    ],
)
def test_hdf5_data_says_what_is_wrong_with_a_file(tmp_path, spoil, message):
    hdf5_list(tmp_path)
    spoil(tmp_path)
    with pytest.raises(DataError, match=message):
        hdf5_net(tmp_path, 2)


def test_hdf5_output_keeps_every_pass(tmp_path):
    hdf5_list(tmp_path)
    text = f"""layer {{ name: "d" type: "HDF5Data" top: "data" top: "label"
      hdf5_data_param {{ source: "{tmp_path}/list.txt" batch_size: 2 }} }}
    layer {{ name: "out" type: "HDF5Output" bottom: "data" bottom: "label"
      hdf5_output_param {{ file_name: "{tmp_path}/out.h5" }} }}"""
    net = net_of(tmp_path, text)
    net.forward()
    net.forward()
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["data"].shape == (4, 2, 2)
        assert file["label"][()].tolist() == [0, 1, 2, 3]


def image_list(folder: Path, count: int = 5) -> np.ndarray:
    images = np.random.default_rng(1).integers(0, 256, (count, 3, 6, 8), np.uint8)
    lines = []
    for number, image in enumerate(images):
        (folder / f"{number} a.png").write_bytes(pictures.encode(image, "png"))
        lines.append(f"{number} a.png {number}\n")
    (folder / "list.txt").write_text("".join(lines))
    return images


def image_net(folder: Path, fields: str, transform: str = "") -> caffe.Net:
    return net_of(
        folder,
        f"""layer {{ name: "d" type: "ImageData" top: "data" top: "label"
          transform_param {{ {transform} }}
          image_data_param {{ source: "{folder}/list.txt" root_folder: "{folder}/" {fields} }}
        }}""",
        caffe.TEST,
    )


def test_image_data_reads_pictures_in_the_list_s_order(tmp_path):
    images = image_list(tmp_path)
    net = image_net(tmp_path, "batch_size: 3", "scale: 0.5 mean_value: 10")
    seen = []
    for _ in range(2):
        net.forward()
        seen += net.blobs["label"].data.astype(int).tolist()
    assert seen == [0, 1, 2, 3, 4, 0]
    expected = (images[[3, 4, 0]].astype(np.float32) - 10) * 0.5
    assert np.array_equal(net.blobs["data"].data, expected)


def test_image_data_resizes_crops_and_shuffles(tmp_path):
    images = image_list(tmp_path)
    net = image_net(
        tmp_path, "batch_size: 5 new_height: 4 new_width: 5 shuffle: true", "crop_size: 2"
    )
    orders = []
    for _ in range(3):
        net.forward()
        orders.append(net.blobs["label"].data.astype(int).tolist())
    assert (
        all(sorted(order) == list(range(5)) for order in orders)
        and len(set(map(tuple, orders))) > 1
    )
    expected = pictures.resize(images[orders[2][0]], 4, 5)[:, 1:3, 1:3]
    assert np.array_equal(net.blobs["data"].data[0], expected.astype(np.float32))


def test_image_data_says_which_picture_is_wrong(tmp_path):
    image_list(tmp_path)
    with pytest.raises(ConfigError, match="both new_height and new_width"):
        image_net(tmp_path, "new_height: 4")
    (tmp_path / "2 a.png").write_bytes(b"no")
    net = image_net(tmp_path, "batch_size: 5")
    with pytest.raises(DataError, match="2 a.png"):
        net.forward()


def window_net(folder: Path, fields: str = "") -> caffe.Net:
    return net_of(
        folder,
        f"""layer {{ name: "w" type: "WindowData" top: "data" top: "label"
          transform_param {{ crop_size: 6 mirror: true mean_value: 7 }}
          window_data_param {{ source: "{folder}/windows.txt" batch_size: 8 fg_fraction: 0.25
            {fields} }} }}""",
    )


def test_window_data_takes_a_share_of_objects(tmp_path):
    image_list(tmp_path, 2)
    (tmp_path / "windows.txt").write_text(
        "".join(
            f"# {n}\n{tmp_path}/{n} a.png\n3\n6\n8\n2\n{n + 3} 0.9 0 0 3 3\n1 0.1 4 1 7 5\n"
            for n in range(2)
        )
    )
    net = window_net(tmp_path, "context_pad: 1")
    net.forward()
    labels = net.blobs["label"].data
    assert net.blobs["data"].data.shape == (8, 3, 6, 6)
    assert (labels[:6] == 0).all() and np.isin(labels[6:], [3, 4]).all()
    assert np.isfinite(net.blobs["data"].data).all() and net.blobs["data"].data.any()
    # What is made ahead is what a net that begins there makes.
    net.forward()
    second = net.blobs["data"].data.copy()
    other = window_net(tmp_path, "context_pad: 1")
    for _ in range(2):
        other.forward()
    assert np.array_equal(other.blobs["data"].data, second)
    (tmp_path / "windows.txt").write_text("# 0\nx.png\n3\n6\n8\n1\n1 0.9 0 0\n")
    with pytest.raises(DataError, match="windows.txt:7: expected `label overlap"):
        window_net(tmp_path)


def test_a_window_is_warped_with_its_surroundings():
    image = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4)
    out = np.zeros((3, 4, 4), np.float32)
    warp(image, (1, 1, 2, 2), Sampling(4, context_pad=1), False, out)
    # Two pixels become two of the four, and a border of one all around them is the surroundings':
    # five pixels are warped to four, the last of which lies outside.
    assert not out[:, 3].any() and not out[:, :, 3].any()
    plain = np.zeros((3, 4, 4), np.float32)
    warp(image, (0, 0, 3, 3), Sampling(4), True, plain)
    assert np.array_equal(plain, image[:, :, ::-1])


def test_infogain_loss_reads_its_matrix_from_a_file(tmp_path):
    gains = np.random.default_rng(0).random((1, 3, 3)).astype(np.float32)
    (tmp_path / "gains.binaryproto").write_bytes(encode_mean(gains))
    text = """layer { name: "x" type: "Input" top: "x" top: "label"
      input_param { shape { dim: 2 dim: 3 } shape { dim: 2 } } }
    layer { name: "loss" type: "InfogainLoss" bottom: "x" bottom: "label" top: "loss" %s }"""
    source = f'infogain_loss_param {{ source: "{tmp_path}/gains.binaryproto" }}'
    net = net_of(tmp_path, text % source)
    net.blobs["x"].data[...] = x = np.array([[1, 2, 3], [0, 0, 1]], np.float32)
    net.blobs["label"].data[...] = [2, 0]
    logs = x - np.log(np.exp(x).sum(1, keepdims=True))
    expected = -(gains[0, [2, 0]] * logs).sum() / 2
    assert net.forward()["loss"] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ConfigError, match="third bottom, or the file"):
        net_of(tmp_path, text % "")
