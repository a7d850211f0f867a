"""Nets whose shapes change as they run: Python layers that give their tops other shapes, as data
layers over pictures of all sizes do, and passes up to a layer behind which nothing fits."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest

import pycaffe_clr as caffe
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.train.log import CaffeLog


class Pictures(caffe.Layer):
    """A picture of another size in each pass, as FCN's data layers have it: reshape loads it."""

    def setup(self, bottom, top):
        self.loaded = self.given = 0

    def reshape(self, bottom, top):
        size = 4 + self.given % 3
        self.picture = np.arange(2 * size * size, dtype=np.float32).reshape(1, 2, size, size) / 9
        self.loaded += 1
        top[0].reshape(*self.picture.shape)
        top[1].reshape(1, 1, size, size)

    def forward(self, bottom, top):
        top[0].data[...] = self.picture
        top[1].data[...] = self.given % 3
        self.given += 1


class Places(caffe.Layer):
    """The places where a map is above its mean, as proposals are: their number is known in forward
    alone. Its own random numbers: called once in a pass."""

    def setup(self, bottom, top):
        self.calls = 0
        top[0].reshape(1, 5)

    def reshape(self, bottom, top):
        pass

    def forward(self, bottom, top):
        self.calls += 1
        values = bottom[0].data[0, 0]
        rows = np.argwhere(values >= values.mean())[: 2 + self.calls % 3]
        top[0].reshape(len(rows), 5)
        for n, (y, x) in enumerate(rows):
            top[0].data[n] = 0, x, y, x, y

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = 0


class Targets(caffe.Layer):
    """A class for each place."""

    def setup(self, bottom, top):
        top[0].reshape(1)

    def reshape(self, bottom, top):
        pass

    def forward(self, bottom, top):
        top[0].reshape(len(bottom[0].data))
        top[0].data[...] = np.arange(len(bottom[0].data)) % 2

    def backward(self, top, propagate_down, bottom):
        pass


class Labels(Targets):
    """The same, whose number is known before."""

    def reshape(self, bottom, top):
        top[0].reshape(len(bottom[0].data))


def python(name: str, bottoms: str, tops: str) -> str:
    ends = "".join(f' bottom: "{b}"' for b in bottoms.split())
    ends += "".join(f' top: "{t}"' for t in tops.split())
    return f"""layer {{ name: "{name}" type: "Python" {ends}
      python_param {{ module: "{__name__}" layer: "{name.capitalize()}" }} }}"""


CONV = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 3 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
"""
SEGMENTS = (
    python("pictures", "", "data label")
    + CONV
    + """
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "bn" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "bn" bottom: "label" top: "loss" }
"""
)
# Two layers whose tops only forward tells, the second behind the first; the loss fits neither.
REGIONS = (
    python("pictures", "", "data label")
    + CONV
    + python("places", "conv", "places")
    + python("targets", "places", "targets")
    + """
layer { name: "unread" type: "Silence" bottom: "label" }
layer { name: "pool" type: "ROIPooling" bottom: "conv" bottom: "places" top: "pool"
  roi_pooling_param { pooled_h: 2 pooled_w: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "targets" top: "loss" }
"""
)

# The same of boxes that a layer of the engine proposes.
MAP = """layer {{ name: "{0}" type: "Convolution" bottom: "conv" top: "{0}"
  convolution_param {{ num_output: {1} kernel_size: 1 weight_filler {{ type: "gaussian" }} }} }}
"""
PROPOSALS = REGIONS.replace('layer: "Targets"', 'layer: "Labels"').replace(
    python("places", "conv", "places"),
    MAP.format("scores", 6)
    + MAP.format("shifts", 12)
    + """
layer { name: "info" type: "DummyData" top: "info"
  dummy_data_param { shape { dim: 1 dim: 3 } data_filler { value: 16 } } }
layer { name: "proposal" type: "Proposal" bottom: "scores" bottom: "shifts" bottom: "info"
  top: "places" proposal_param { feat_stride: 4 base_size: 4 min_size: 0 scale: 1 ratio: 0.5
    ratio: 1 ratio: 2 nms_thresh: 0.4 } }
""",
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    return tmp_path


def build(folder: Path, text: str, phase: int = caffe.TRAIN, **how) -> caffe.Net:
    (folder / "net.prototxt").write_text(text)
    return caffe.Net(folder / "net.prototxt", phase, seed=3, **how)


def test_a_picture_of_another_size_in_each_pass(here):
    net = build(here, SEGMENTS)
    layer = net.layers[0].layer
    mean = net.params["bn"][0].data.copy()
    for number in range(6):
        size = 4 + number % 3
        net.forward()
        assert net.blobs["data"].shape == (1, 2, size, size)
        assert net.blobs["bn"].data.shape == (1, 3, size, size)
        assert (net.blobs["label"].data == number % 3).all()
        assert layer.given == number + 1
        batch = net.blobs["conv"].data.mean((0, 2, 3))
        mean = 0.999 * mean + batch  # moved once in each pass
        assert np.allclose(net.params["bn"][0].data, mean, rtol=1e-4)
        net.backward()
        assert np.abs(net.params["conv"][0].diff).sum() > 0
    # The same as in a net that was built for that size.
    fixed = SEGMENTS.replace(
        python("pictures", "", "data label"),
        'layer { name: "in" type: "Input" top: "data" top: "label" input_param { '
        "shape { dim: 1 dim: 2 dim: 6 dim: 6 } shape { dim: 1 dim: 1 dim: 6 dim: 6 } } }",
    )
    (here / "fixed").mkdir()
    other = build(here / "fixed", fixed)
    other.share_with(net)
    for name in ("data", "label"):
        other.blobs[name].data[...] = net.blobs[name].data
    assert np.allclose(other.forward()["loss"], net.blobs["loss"].data, rtol=1e-5)


def check_bias_gradient(net):
    """That of fc, whose rows are told apart by even and odd places: softmax less the targets."""
    scores = net.blobs["fc"].data
    rows = np.arange(len(scores))
    share = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    share[rows, rows % 2] -= 1
    assert np.allclose(net.params["fc"][1].diff, share.mean(0), atol=1e-6)


def test_numbers_of_rows_that_only_forward_tells(here):
    net = build(here, REGIONS)
    places = net.layers[net._layer_names.index("places")].layer
    for number in range(6):
        net.forward()
        rows = len(net.blobs["places"].data)
        assert rows == 2 + (number + 1) % 3 and places.calls == number + 1
        assert net.blobs["fc"].data.shape == (rows, 2)
        assert net.blobs["targets"].data.tolist() == [n % 2 for n in range(rows)]
        values = net.blobs["conv"].data[0, 0]
        expected = np.argwhere(values >= values.mean())[:rows]
        assert np.array_equal(net.blobs["places"].data[:, [2, 1]], expected)
        net.clear_param_diffs()
        net.backward()
        check_bias_gradient(net)


def test_as_many_boxes_as_are_proposed(here):
    net = build(here, PROPOSALS)
    assert net.blobs["places"].shape == (300, 5)
    seen = set()
    for _ in range(6):
        net.forward()
        rows = len(net.blobs["places"].data)
        seen.add(rows)
        assert rows <= 3 * net.blobs["scores"].data[0, 0].size
        assert net.blobs["pool"].shape == (rows, 3, 2, 2) and len(net.blobs["fc"].data) == rows
        assert net.blobs["targets"].data.tolist() == [n % 2 for n in range(rows)]
        net.clear_param_diffs()
        net.backward()
        check_bias_gradient(net)
        assert np.abs(net.params["conv"][0].diff).sum() > 0
    assert len(seen) > 2


@pytest.mark.parametrize("text", [SEGMENTS, REGIONS, PROPOSALS])
def test_solvers_train_such_nets(here, text):
    (here / "net.prototxt").write_text(text)
    (here / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.05 lr_policy: "fixed" max_iter: 30 display: 0 momentum: 0.9'
        " iter_size: 2 random_seed: 4 snapshot_after_train: false"
    )
    solver = caffe.get_solver("solver.prototxt")
    before = solver.net.params["conv"][0].data.copy()
    solver.step(9)
    assert solver.net.layers[0].layer.given == 18
    assert np.abs(solver.net.params["conv"][0].data - before).max() > 0
    assert np.isfinite(solver.net.blobs["loss"].data)


def solver_that_tests(text: str, said: io.StringIO) -> caffe.SGDSolver:
    """A solver whose three passes of a test are over before it trains."""
    Path("net.prototxt").write_text(text)
    Path("solver.prototxt").write_text(
        'net: "net.prototxt" test_iter: 3 test_interval: 5 base_lr: 0 lr_policy: "fixed" '
        "max_iter: 1 snapshot_after_train: false"
    )
    return caffe.SGDSolver("solver.prototxt", log=CaffeLog(said))


WEIGHTS = CONV.replace("3 pad: 1", "1")


def test_a_test_sums_up_pictures_of_all_sizes(here):
    said = io.StringIO()
    unread = 'layer { name: "unread" type: "Silence" bottom: "label" bottom: "conv" }\n'
    total = 'layer { name: "sum" type: "Reduction" bottom: "data" top: "sum" }\n'
    solver = solver_that_tests(
        python("pictures", "", "data label") + WEIGHTS + unread + total, said
    )
    solver.step(1)
    assert solver.test_nets[0].layers[0].layer.given == 3
    # Means of 0, 1/9, 2/9 ... in two channels of 4, 5 and 6 rows and columns.
    mean = sum(n * (n - 1) / 2 / 9 for n in (32, 50, 72)) / 3
    assert f"Test net output #0: sum = {mean:.6g}\n" in said.getvalue()


def test_outputs_of_all_sizes_cannot_be_summed_up(here):
    solver = solver_that_tests(
        python("pictures", "", "data label") + WEIGHTS, said := io.StringIO()
    )
    with pytest.raises(ConfigError, match="output 'conv'.*another size.*summed up"):
        solver.step(1)
    assert "Test net output" not in said.getvalue()


def test_what_does_not_fit_in_the_end_is_told(here):
    fixed = 'bottom: "data" bottom: "label" top: "loss"'
    text = SEGMENTS.replace('bottom: "bn" bottom: "label" top: "loss"', fixed)
    text = text.replace('type: "SoftmaxWithLoss"', 'type: "EuclideanLoss"')
    text = text.replace(
        'type: "EuclideanLoss" bottom: "data" bottom: "label"',
        'type: "EuclideanLoss" bottom: "data" bottom: "w"',
    )
    constant = """layer { name: "w" type: "DummyData" top: "w"
      dummy_data_param { shape { dim: 1 dim: 2 dim: 4 dim: 4 } } }"""
    net = build(here, constant + text)
    net.forward()
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"layer 'loss' \(EuclideanLoss.*do not"):
            net.forward()
    net.forward()  # of the first size again
    assert net.blobs["data"].shape == (1, 2, 4, 4)


INPUT = """
layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 6 dim: 6 } } }
"""
FC = 'layer { name: "fc" type: "InnerProduct" bottom: "relu" top: "fc"'
CLASSIFIER = (
    INPUT
    + CONV
    + 'layer { name: "relu" type: "ReLU" bottom: "conv" top: "relu" }\n'
    + FC
    + ' inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }\n'
    'layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }'
)


def test_a_pass_up_to_a_layer_behind_which_nothing_fits(here):
    net = build(here, CLASSIFIER, caffe.TEST)
    whole = np.random.default_rng(1).normal(size=(1, 2, 9, 12)).astype(np.float32)
    small = whole[:, :, :6, :6].copy()
    net.blobs["data"].data[...] = small
    before = net.forward()["prob"].copy()
    net.blobs["data"].reshape(*whole.shape)
    net.blobs["data"].data[...] = whole
    found = net.forward(end="relu")["relu"].copy()
    assert found.shape == (1, 3, 9, 12)
    assert np.allclose(found[:, :, :5, :5], np.maximum(net.blobs["conv"].data, 0)[:, :, :5, :5])
    assert net.blobs["fc"].shape == (1, 4)
    with pytest.raises(ConfigError, match=r"layer 'fc' \(InnerProduct.*parameter 0 from 4x108"):
        net.forward()
    with pytest.raises(ConfigError, match="parameter 0 from 4x108"):
        net.backward()
    assert np.array_equal(net.forward(end="relu")["relu"], found)
    net.blobs["data"].reshape(*small.shape)
    net.blobs["data"].data[...] = small
    assert np.array_equal(net.forward()["prob"], before)


def test_all_of_a_net_follows_where_it_fits(here):
    text = CLASSIFIER.replace(FC, 'layer { name: "fc" type: "Convolution" bottom: "relu" top: "fc"')
    text = text.replace(
        "inner_product_param { num_output: 4", "convolution_param { num_output: 4 kernel_size: 6"
    )
    net = build(here, text, caffe.TEST)
    net.blobs["data"].reshape(1, 2, 8, 7)
    assert net.forward(end="relu")["relu"].shape == (1, 3, 8, 7)
    assert net.forward()["prob"].shape == (1, 4, 3, 2)
