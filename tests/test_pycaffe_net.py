"""What pycaffe's scripts do with a Net: reshape, pass twice, write blobs, hear of layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from golden_data import BACKENDS, need

import pycaffe_clr as caffe
from pycaffe_clr.errors import ConfigError

pytestmark = pytest.mark.usefixtures("one_thread")

DATA = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 4 dim: 3 dim: 6 dim: 6 } } }
"""
LABEL = """
layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 4 } } }
"""
BODY = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 5 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
"""
LOSS = """
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" }
"""
WHOLE = "force_backward: true" + DATA + LABEL + BODY + LOSS
DUMMY = """
layer { name: "data" type: "DummyData" top: "data" top: "noise" dummy_data_param {
  shape { dim: 4 dim: 3 } data_filler { type: "constant" value: 2 }
  data_filler { type: "gaussian" } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
"""


@pytest.fixture
def make(tmp_path: Path):
    def build(text: str, **settings) -> caffe.Net:
        file = tmp_path / "net.prototxt"
        file.write_text(text)
        return caffe.Net(file, caffe.TRAIN, seed=1, **settings)

    return build


def fill(net: caffe.Net) -> None:
    random = np.random.default_rng(3)
    net.blobs["data"].data[...] = random.standard_normal(net.blobs["data"].shape)
    net.blobs["label"].data[...] = random.integers(0, 4, net.blobs["label"].shape)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("looked_at", [False, True])
def test_backward_may_run_again_after_one_forward(backend, looked_at, make):
    """What forward leaves for backward is still there; only parameters' diffs add up."""
    need(backend)
    net = make(WHOLE.replace("ReLU", "Dropout"), device=backend)
    fill(net)
    net.forward()
    net.backward()
    first = {name: [p.diff.copy() for p in blobs] for name, blobs in net.params.items()}
    below = net.blobs["data"].diff.copy() if looked_at else None
    net.backward()
    for name, blobs in net.params.items():
        for param, diff in zip(blobs, first[name], strict=True):
            np.testing.assert_allclose(param.diff, 2 * diff, rtol=1e-5, atol=1e-7)
    if looked_at:
        np.testing.assert_array_equal(net.blobs["data"].diff, below)


def test_a_losss_diff_weighs_it(make):
    net = make(WHOLE)
    fill(net)
    net.forward()
    net.backward()
    once = net.params["conv"][0].diff.copy()
    net.clear_param_diffs()
    net.blobs["loss"].diff[...] = 3
    net.backward()
    np.testing.assert_allclose(net.params["conv"][0].diff, 3 * once, rtol=1e-5, atol=1e-7)


def test_inputs_are_reshaped_one_after_the_other(make):
    """The first alone does not fit the labels yet; what is written meanwhile counts."""
    net = make(WHOLE)
    weights = net.params["conv"][0].data.copy()
    pictures = np.random.default_rng(1).standard_normal((7, 3, 6, 6)).astype(np.float32)
    net.blobs["data"].reshape(7, 3, 6, 6)
    assert net.blobs["data"].shape == net.blobs["data"].data.shape == (7, 3, 6, 6)
    net.blobs["data"].data[...] = pictures
    net.blobs["label"].reshape(7)
    net.blobs["label"].data[...] = 1
    out = net.forward()
    assert set(out) == {"loss", "accuracy"}
    assert net.blobs["conv"].data.shape == (7, 5, 4, 4)
    np.testing.assert_array_equal(net.blobs["data"].data, pictures)
    np.testing.assert_array_equal(net.params["conv"][0].data, weights)
    one = make(WHOLE)
    one.blobs["data"].reshape(1, 3, 6, 6)
    one.blobs["label"].reshape(1)
    one.forward(data=pictures[:1], label=np.ones(1))
    np.testing.assert_allclose(one.blobs["ip"].data, net.blobs["ip"].data[:1], rtol=1e-5)


def test_a_shape_that_never_fits_is_an_error_at_forward(make):
    net = make(WHOLE)
    net.blobs["data"].reshape(7, 3, 6, 6)
    for go in (net.reshape, net.forward):
        with pytest.raises(ConfigError, match="labels"):
            go()
    net.blobs["data"].reshape(4, 3, 6, 6)
    net.forward()


def test_other_inputs_keep_what_they_hold_through_a_reshape(make):
    net = make(DATA + LABEL.replace('"label"', '"gain"') + BODY)
    net.blobs["gain"].data[...] = [1, 2, 3, 4]
    net.blobs["data"].reshape(2, 3, 6, 6)
    np.testing.assert_array_equal(net.blobs["gain"].data, [1, 2, 3, 4])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("fuse", [False, True])
def test_a_constant_of_dummy_data_is_filled_once(backend, fuse, make):
    """Scripts write their own numbers there; other fillers draw anew at each pass."""
    need(backend)
    net = make(DUMMY, device=backend, fuse=fuse, keep=["noise"])
    assert net.inputs == []
    assert (net.blobs["data"].data == 2).all()
    net.forward()
    twos, noise = net.blobs["ip"].data.copy(), net.blobs["noise"].data.copy()
    np.testing.assert_allclose(twos[0], 2 * net.params["ip"][0].data.sum(1), rtol=1e-5)
    net.blobs["data"].data[...] = 3
    net.forward()
    np.testing.assert_allclose(net.blobs["ip"].data, 1.5 * twos, rtol=1e-5)
    assert (net.blobs["data"].data == 3).all()
    assert (net.blobs["noise"].data != noise).any()


def test_a_fused_net_runs_backward_and_says_nothing_of_blobs(make):
    net = make(WHOLE, fuse=True)
    fill(net)
    net.forward()
    assert net.backward() == {}
    assert np.abs(net.params["conv"][0].diff).max() > 0


def test_callbacks_hear_of_every_layer(make):
    net = make(WHOLE)
    fill(net)
    net.forward()
    loss = float(net.blobs["loss"].data)
    heard: list[tuple[str, int]] = []
    for name in ("before_forward", "after_forward", "before_backward", "after_backward"):
        getattr(net, name)(lambda index, name=name: heard.append((name, index)))
    net.forward()
    assert float(net.blobs["loss"].data) == pytest.approx(loss)
    count = len(net.layers)
    assert heard[:3] == [("before_forward", 0), ("after_forward", 0), ("before_forward", 1)]
    assert len(heard) == 2 * count
    net.backward()
    assert heard[2 * count] == ("before_backward", count - 1)
    assert heard[-1] == ("after_backward", 0)


def test_the_numbers_that_pycaffes_python_part_builds_on(make):
    net = make(WHOLE)
    names = net._blob_names
    assert names == list(net.blobs)
    assert [names[i] for i in net._inputs] == net.inputs == ["data", "label"]
    assert [names[i] for i in net._outputs] == net.outputs
    conv = net._layer_names.index("conv")
    assert [names[i] for i in net._bottom_ids(conv)] == ["data"]
    assert [names[i] for i in net._top_ids(conv)] == ["conv"]
    assert dict(zip(names, net._blob_loss_weights, strict=True))["loss"] == 1
    assert net._blobs == [net.blobs[name] for name in names]


def test_passes_under_pycaffes_own_names(make):
    net = make(WHOLE)
    fill(net)
    last = len(net.layers) - 1
    loss = net._forward(0, last)
    assert loss == pytest.approx(float(net.blobs["loss"].data)) and loss > 0
    net._backward(last, 0)
    gradient = net.params["conv"][0].diff.copy()
    heard: list[int] = []
    net.after_forward(heard.append)
    net.clear_param_diffs()
    assert net._forward(0, last) == pytest.approx(loss) and heard == list(range(last + 1))
    net._backward(last, 0)
    np.testing.assert_allclose(net.params["conv"][0].diff, gradient, rtol=1e-5)


@pytest.mark.parametrize("device", ["kernels", "cpu"])
def test_no_layer_of_a_net_with_branches_needs_the_reference_backend(make, device):
    assert make(WHOLE, device=device)._core.fallbacks() == []


def test_what_the_reference_backend_runs_is_told(make, caplog):
    """A sum of more values than the CPU backend's kernel takes."""
    bottoms = 'bottom: "data" ' * 70
    make(DATA + f'layer {{ name: "sum" type: "Eltwise" {bottoms} top: "sum" }}', device="cpu")
    told = [r.message for r in caplog.records if "reference backend" in r.message]
    assert told == ["run by the reference backend: sum (sum)"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_may_be_added_between_the_parts_of_a_backward_pass(backend, make):
    """As scripts that draw pictures do: each chosen blob, overwritten in place by a ReLU, adds its
    own to what came down to it."""
    text = "force_backward: true" + DATA
    for name, bottom in (("conv", "data"), ("c2", "conv")):
        text += f'''
          layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}"
            convolution_param {{ num_output: 3 kernel_size: 3
              weight_filler {{ type: "xavier" }} }} }}
          layer {{ name: "r_{name}" type: "ReLU" bottom: "{name}" top: "{name}" }}'''
    net = make(text, device=backend)
    random = np.random.default_rng(4)
    x, way = random.standard_normal((2, *net.blobs["data"].shape))

    def loss(at: np.ndarray) -> float:
        net.blobs["data"].data[...] = at
        net.forward()
        return sum(
            0.5 * float((net.blobs[b].data.astype(float) ** 2).sum()) for b in ("conv", "c2")
        )

    expected = (loss(x + 1e-2 * way) - loss(x - 1e-2 * way)) / 2e-2
    loss(x)
    net.blobs["c2"].diff[...] = net.blobs["c2"].data
    net.backward(start="c2", end="conv")
    net.blobs["conv"].diff[...] += net.blobs["conv"].data
    net.backward(start="conv")
    assert (net.blobs["data"].diff * way).sum() == pytest.approx(expected, rel=2e-2)


def test_a_first_look_after_a_part_of_a_pass(make):
    net = make(WHOLE)
    fill(net)
    net.forward(end="conv")
    assert net.blobs["conv"].data.min() < 0
    net.forward(start="relu", end="relu")
    assert net.blobs["conv"].data.min() == 0 < net.blobs["conv"].data.max()
