"""Sets larger than a batch, arrays fed to MemoryData, weights that go from net to net."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from train_cases import make_case

import pycaffe_clr as caffe
from pycaffe_clr.errors import ConfigError, DataError

pytestmark = pytest.mark.usefixtures("one_thread")

NET = """
name: "small" force_backward: true
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 dim: 2 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "ip" top: "relu" }
"""
MEMORY = """
layer { name: "data" type: "MemoryData" top: "data" top: "label"
  memory_data_param { batch_size: 2 channels: 1 height: 2 width: 3 } }
layer { name: "pool" type: "Pooling" bottom: "data" top: "pool"
  pooling_param { pool: AVE global_pooling: true } }
"""


@pytest.fixture
def make(tmp_path: Path):
    def build(text: str = NET, name: str = "net", **settings) -> caffe.Net:
        file = tmp_path / f"{name}.prototxt"
        file.write_text(text)
        return caffe.Net(file, caffe.TEST, seed=1, **settings)

    return build


def samples(count: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 3, 2)).astype(np.float32)


@pytest.mark.parametrize("count", [1, 4, 11])
def test_forward_all_goes_through_a_set_and_drops_its_padding(make, count):
    net, data = make(), samples(count)
    out = net.forward_all(["ip"], data=data)
    assert set(out) == {"relu", "ip"}
    weights, bias = (param.data for param in net.params["ip"])
    expected = data.reshape(count, 6) @ weights.T + bias
    np.testing.assert_allclose(out["ip"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(out["relu"], np.maximum(expected, 0), rtol=1e-5, atol=1e-6)
    assert not np.shares_memory(out["ip"], net.blobs["ip"].data)


def test_batches_under_pycaffes_own_name(make):
    net, data = make(), samples(5)
    pieces = [piece["data"] for piece in net._batch({"data": data})]
    batch = net.blobs["data"].shape[0]
    assert [len(piece) for piece in pieces] == [batch] * len(pieces)
    together = np.concatenate(pieces)
    np.testing.assert_array_equal(together[:5], data)
    assert not together[5:].any()


@pytest.mark.parametrize("count", [3, 4, 9])
def test_forward_backward_all_gives_the_gradient_of_each_sample(make, count):
    net, data = make(), samples(count)
    above = np.random.default_rng(1).standard_normal((count, 5)).astype(np.float32)
    out, diffs = net.forward_backward_all(diffs=["ip"], data=data, relu=above)
    assert set(out) == {"relu"} and set(diffs) == {"data", "ip"}
    below = above * (out["relu"] > 0)
    np.testing.assert_allclose(diffs["ip"], below, rtol=1e-5, atol=1e-6)
    expected = (below @ net.params["ip"][0].data).reshape(count, 3, 2)
    np.testing.assert_allclose(diffs["data"], expected, rtol=1e-4, atol=1e-5)


def test_sets_that_do_not_fit_are_refused(make):
    net = make()
    with pytest.raises(ConfigError, match=r"inputs \['data'\], came \{\}"):
        net.forward_all()
    with pytest.raises(ConfigError, match="came {'dada': 4}"):
        net.forward_all(dada=samples(4))
    with pytest.raises(ConfigError, match="came {'data': 4, 'relu': 3}"):
        net.forward_backward_all(data=samples(4), relu=np.zeros((3, 5)))
    loss = NET + (
        'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 4 } } }'
        'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "relu" bottom: "label" top: "loss" }'
    )
    with pytest.raises(ConfigError, match="'loss' is one number for a batch"):
        make(loss).forward_all(data=samples(4), label=np.zeros(4))


def test_blobs_and_parameters_have_caffes_old_sizes(make):
    net = make()
    blob = net.blobs["data"]
    assert (blob.num, blob.channels, blob.height, blob.width) == (4, 3, 2, 1)
    assert blob.count == 24 == blob.data.size and blob.shape == (4, 3, 2)
    weights, bias = net.params["ip"]
    assert (weights.num, weights.channels, weights.height, weights.width) == (5, 6, 1, 1)
    assert (bias.num, bias.channels, bias.count) == (5, 1, 5)
    blob.reshape(2, 3, 2)
    assert blob.num == 2 and net.blobs["ip"].num == 2
    assert repr(blob) == "Blob('data', shape=(2, 3, 2))"
    assert repr(net.layer_dict["ip"]) == "Layer('ip', InnerProduct)"


def test_memory_data_hands_out_the_arrays_in_order(make):
    net = make(MEMORY)
    net.forward()
    assert (net.blobs["data"].data == 0).all()
    data = np.arange(6 * 6, dtype=np.float32).reshape(6, 1, 2, 3)
    net.set_input_arrays(data, np.arange(6))
    seen = []
    for _ in range(4):  # the fourth batch is the first again
        net.forward()
        np.testing.assert_allclose(
            net.blobs["pool"].data.ravel(), net.blobs["data"].data.mean((1, 2, 3)), rtol=1e-6
        )
        seen += net.blobs["label"].data.astype(int).tolist()
    assert seen == [0, 1, 2, 3, 4, 5, 0, 1]
    np.testing.assert_array_equal(net.blobs["data"].data, data[:2])


def test_memory_data_refuses_what_does_not_fit(make):
    net = make(MEMORY)
    data = np.zeros((3, 1, 2, 3), np.float32)
    with pytest.raises(DataError, match="3 samples are no multiple of its batch_size 2"):
        net.set_input_arrays(data, np.zeros(3))
    with pytest.raises(ConfigError, match="1 MemoryData layers; number 1 is asked"):
        net.set_input_arrays(data[:2], np.zeros(2), 1)
    with pytest.raises((ConfigError, DataError)):
        net.set_input_arrays(np.zeros((2, 1, 3, 3), np.float32), np.zeros(2))
    with pytest.raises((ConfigError, DataError)):
        net.set_input_arrays(data[:2], np.zeros(4))
    with pytest.raises(ConfigError, match="channels, height and width above 0"):
        make(MEMORY.replace("channels: 1", ""))


def test_hdf5_weights_are_written_whatever_the_name_and_read_again(make, tmp_path):
    net, other = make(), make()
    net.params["ip"][0].data[...] = np.arange(30).reshape(5, 6)
    net.save_hdf5(tmp_path / "weights.caffemodel")
    with h5py.File(tmp_path / "weights.caffemodel") as file:
        np.testing.assert_array_equal(file["data/ip/0"], net.params["ip"][0].data)
    other.load_hdf5(tmp_path / "weights.caffemodel")
    np.testing.assert_array_equal(other.params["ip"][0].data, net.params["ip"][0].data)
    net.params["ip"][0].diff[...] = 3
    net.save_hdf5(tmp_path / "with_diffs.h5", write_diff=True)
    with h5py.File(tmp_path / "with_diffs.h5") as file:
        assert (file["diff/ip/0"][...] == 3).all()


def test_weights_are_taken_over_by_layers_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    solver = caffe.get_solver(make_case(tmp_path))
    solver.step(1)
    net = caffe.Net("net.prototxt", caffe.TEST, seed=9)
    assert not np.array_equal(net.params["ip"][0].data, solver.net.params["ip"][0].data)
    solver.share_weights(net)
    for name, blobs in solver.net.params.items():
        for mine, theirs in zip(blobs, net.params[name], strict=True):
            assert np.array_equal(mine.data, theirs.data)
    solver.step(2)  # what changes there counts here
    assert np.array_equal(net.params["ip"][0].data, solver.net.params["ip"][0].data)
    net.params["ip"][0].data[...] = 0.25
    assert (solver.net.params["ip"][0].data == 0.25).all()
    del solver
    assert np.isfinite(net.forward()["loss"])


def test_sharing_keeps_inputs_callbacks_and_layers_of_its_own(make):
    other = make(name="other")
    more = (
        NET
        + """layer { name: "more" type: "InnerProduct" bottom: "relu" top: "more"
      inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }"""
    )
    net = make(more, name="more")
    net.blobs["data"].reshape(2, 3, 2)
    net.blobs["data"].data[...] = samples(2)
    heard = []
    net.after_forward(heard.append)
    own = net.params["more"][0].data.copy()
    net.share_with(other)
    out = net.forward()["more"]
    assert heard == [0, 1, 2, 3] and np.array_equal(net.params["more"][0].data, own)
    relu = np.maximum(samples(2).reshape(2, 6) @ other.params["ip"][0].data.T, 0)
    assert np.allclose(out, relu @ own.T, atol=1e-5)


def test_what_cannot_be_shared_is_refused_and_changes_nothing(make):
    net, other = make(), make(NET.replace("num_output: 5", "num_output: 4"), name="other")
    before = net.params["ip"][0].data.copy()
    with pytest.raises(DataError, match="parameter 0 of layer 'ip'"):
        net.share_with(other)
    assert np.array_equal(net.params["ip"][0].data, before)


def test_the_forms_of_pycaffes_constructor(make, tmp_path):
    text = NET + 'layer { name: "x" type: "ReLU" bottom: "ip" top: "x" include { stage: "s" } }'
    net = make(text, name="forms")
    file = tmp_path / "forms.prototxt"
    weights = str(tmp_path / "w.caffemodel")
    net.save(weights)
    wanted = net.params["ip"][0].data
    for made in (
        caffe.Net(str(file), weights, caffe.TEST),
        caffe.Net(file, caffe.TEST, 0, None, weights),
        caffe.Net(str(file), caffe.TEST, weights=weights),
        caffe.Net(network_file=str(file), phase=caffe.TEST, weights=tmp_path / "w.caffemodel"),
    ):
        assert np.array_equal(made.params["ip"][0].data, wanted) and "x" not in made.blobs
    assert "x" in caffe.Net(file, caffe.TEST, 0, ["s"]).blobs
    with pytest.raises(ConfigError, match="list of names"):
        caffe.Net(file, caffe.TEST, stages="s")
    with pytest.raises(TypeError, match="Net takes a file"):
        caffe.Net(file, caffe.TEST, 0, [], weights, 1)
