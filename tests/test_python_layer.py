"""Layers written in Python work in a net: in passes, in training, saved and shared."""

from __future__ import annotations

import gc
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_data import BACKENDS, need

import pycaffe_clr as caffe
from pycaffe_clr import cli
from pycaffe_clr.engine import ready_core
from pycaffe_clr.errors import ConfigError

pytestmark = pytest.mark.usefixtures("one_thread")

INPUT = """
force_backward: true
layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 10 dim: 9 dim: 8 } } }
"""


def python_layer(
    layer: str, name: str = "layer", bottom: str = "data", top: str = "top", more: str = ""
) -> str:
    ends = "".join(f'bottom: "{b}" ' for b in bottom.split())
    ends += "".join(f'top: "{t}" ' for t in top.split())
    return (
        f'layer {{ name: "{name}" type: "Python" {ends}\n'
        f'  python_param {{ module: "{__name__}" layer: "{layer}" {more} }} }}\n'
    )


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., caffe.Net]:
    def build(text: str, phase: int = caffe.TRAIN, **settings: Any) -> caffe.Net:
        file = tmp_path / "net.prototxt"
        file.write_text(text)
        return caffe.Net(file, phase, seed=1, **settings)

    return build


class Tenfold(caffe.Layer):
    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        top[0].data[...] = 10 * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = 10 * top[0].diff


class InPlace(Tenfold):
    def forward(self, bottom, top):
        assert bottom[0] is top[0]
        bottom[0].data[...] *= 10

    def backward(self, top, propagate_down, bottom):
        top[0].diff[...] *= 10


class Fails(caffe.Layer):
    def setup(self, bottom, top):
        if self.param_str == "setup":
            raise RuntimeError("setup went wrong")

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        if self.param_str == "forward":
            raise KeyError("forward went wrong")

    def backward(self, top, propagate_down, bottom):
        raise ZeroDivisionError("backward went wrong")


class Counter(caffe.Layer):
    """A parameter whose gradient is always 1."""

    def setup(self, bottom, top):
        self.blobs.add_blob(1)
        self.blobs[0].data[0] = 0

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        pass

    def backward(self, top, propagate_down, bottom):
        self.blobs[0].diff[0] = 1


class Phase(caffe.Layer):
    def reshape(self, bottom, top):
        top[0].reshape()

    def forward(self, bottom, top):
        top[0].data[()] = self.phase


class Affine(caffe.Layer):
    """y = w * x + b with first values from param_str, to be learned; counts its forward passes."""

    def setup(self, bottom, top):
        weight, offset = map(float, self.param_str.split(","))
        self.blobs.add_blob(1)
        self.blobs.add_blob(1)
        self.blobs[0].data[...] = weight
        self.blobs[1].data[...] = offset

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = self.blobs[0].data * bottom[0].data + self.blobs[1].data

    def backward(self, top, propagate_down, bottom):
        self.blobs[0].diff[...] += (top[0].diff * bottom[0].data).sum()
        self.blobs[1].diff[...] += top[0].diff.sum()
        if propagate_down[0]:
            bottom[0].diff[...] = self.blobs[0].data * top[0].diff


class SquaredError(caffe.Layer):
    def reshape(self, bottom, top):
        top[0].reshape(1)

    def forward(self, bottom, top):
        top[0].data[0] = ((bottom[0].data - bottom[1].data) ** 2).sum() / bottom[0].num / 2

    def backward(self, top, propagate_down, bottom):
        difference = (bottom[0].data - bottom[1].data) / bottom[0].num * top[0].diff[0]
        for place, sign in enumerate((1, -1)):
            if propagate_down[place]:
                bottom[place].diff[...] = sign * difference


class Samples(caffe.Layer):
    """A data layer: x and 3 x - 2."""

    def setup(self, bottom, top):
        self.generator = np.random.default_rng(5)

    def reshape(self, bottom, top):
        for blob in top:
            blob.reshape(8, 1)

    def forward(self, bottom, top):
        top[0].data[...] = self.generator.uniform(-1, 1, (8, 1))
        top[1].data[...] = 3 * top[0].data - 2


class Shrinks(Tenfold):
    def forward(self, bottom, top):
        bottom[0].reshape(1)


class NoBackward(caffe.Layer):
    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data


THREE = INPUT + "".join(
    python_layer("Tenfold", name, bottom, name)
    for name, bottom in (("one", "data"), ("two", "one"), ("three", "two"))
)


@pytest.mark.parametrize("backend", BACKENDS)
def test_passes(backend, make):
    need(backend)
    net = make(THREE, device=backend)
    net.blobs["data"].data[...] = 8
    net.forward()
    assert (net.blobs["three"].data == 8000).all()
    net.blobs["three"].diff[...] = 7
    net.backward()
    assert (net.blobs["data"].diff == 7000).all()
    assert "Python" in caffe.layer_type_list()
    assert not net._core.fallbacks()


def test_a_pass_in_double_precision(make):
    net = make(THREE, device="reference", dtype="float64")
    net.blobs["data"].data[...] = 1 / 3
    net.forward()
    assert net.blobs["three"].data.dtype == np.float64
    assert net.blobs["three"].data[0, 0, 0] == 10 * (10 * (10 * (1 / 3)))


def test_a_net_is_reshaped_with_its_python_layers(make):
    net = make(THREE)
    net.blobs["data"].reshape(4, 4, 4, 4)
    net.blobs["data"].data[...] = 1
    net.forward()
    for blob in net.blobs.values():
        assert blob.data.shape == (4, 4, 4, 4)
    assert (net.blobs["three"].data == 1000).all()


def test_in_place(make):
    net = make(INPUT + python_layer("InPlace", top="data"))
    net.blobs["data"].data[...] = 2
    net.forward()
    assert (net.blobs["data"].data == 20).all()
    net.blobs["data"].diff[...] = 3
    net.backward()
    assert (net.blobs["data"].diff == 30).all()


def test_exceptions_come_through_with_their_class_place_and_layer(make):
    text = INPUT + python_layer("Fails", more='param_str: "{}"')
    with pytest.raises(RuntimeError, match="^setup went wrong") as failure:
        make(text.replace("{}", "setup"))
    told = "".join(traceback.format_exception(failure.value))
    assert 'raise RuntimeError("setup went wrong")' in told
    assert "in setup of layer 'layer' (Python, " in told and "net.prototxt:4" in told
    net = make(text.replace("{}", "forward"))
    with pytest.raises(KeyError, match="forward went wrong") as failed_pass:
        net.forward()
    assert "in forward of layer 'layer'" in failed_pass.value.__notes__[0]
    net = make(text.replace("{}", ""))
    net.forward()
    with pytest.raises(ZeroDivisionError, match="backward went wrong"):
        net.backward()
    net.forward()  # the net is as usable as before


def test_parameters(make, tmp_path):
    text = INPUT + python_layer("Counter")
    net = make(text)
    net.forward()
    net.backward()
    layer = net.layers[list(net._layer_names).index("layer")]
    assert layer.blobs[0].data[0] == 0
    assert layer.blobs[0].diff[0] == 1
    layer.blobs[0].data[0] += layer.blobs[0].diff[0]
    net.forward()
    assert layer.blobs[0].data[0] == 1
    net.save(tmp_path / "net.caffemodel")
    layer.blobs[0].data[0] = -1
    net.copy_from(tmp_path / "net.caffemodel")
    assert layer.blobs[0].data[0] == 1
    other = make(text)
    other.share_with(net)
    assert other.layer_dict["layer"].blobs[0].data[0] == 1


def test_a_nets_layers_show_the_python_object(make):
    net = make(INPUT + python_layer("Counter", more='param_str: "seven"'))
    shown = net.layer_dict["layer"]
    assert isinstance(shown.layer, Counter)
    assert shown.param_str == shown.param_str_ == "seven"
    assert shown.phase == caffe.TRAIN and str(shown.phase) == "TRAIN"
    assert shown.type == "Python" and shown.blobs[0].shape == (1,)
    with pytest.raises(AttributeError, match="nothing"):
        _ = shown.nothing
    shown.records = [1, 2]  # as scripts hand data layers what they shall read
    assert shown.layer.records == [1, 2]
    assert net.layers[0].layer is None
    with pytest.raises(AttributeError, match="has no attribute 'param_str'"):
        _ = net.layers[0].param_str


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
def test_a_layer_knows_its_phase(phase, make):
    net = make(INPUT + python_layer("Phase"), phase)
    assert net.forward()["top"] == phase


TRAINED = (
    'name: "line"\n'
    + python_layer("Samples", "samples", "", "x target")
    + python_layer("Affine", "line", "x", "y", 'param_str: "0.5,1"')
    + python_layer("SquaredError", "loss", "y target", "loss").replace(
        "python_param", "loss_weight: 1 python_param"
    )
)
SOLVER = """
train_net: "net.prototxt" test_net: "net.prototxt" test_iter: 2 test_interval: 50
base_lr: 0.5 lr_policy: "fixed" momentum: 0.5 max_iter: 100 snapshot_prefix: "line"
random_seed: 1 type: "Nesterov" average_loss: 5
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(TRAINED)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    return tmp_path


@pytest.mark.parametrize("backend", BACKENDS)
def test_training_learns_a_python_layers_parameters(backend, here):
    need(backend)
    solver = caffe.get_solver("solver.prototxt", device=backend)
    first = [blob.data[0] for blob in solver.net.params["line"]]
    assert first == [0.5, 1]
    solver.step(60)
    slope, offset = (blob.data[0] for blob in solver.net.params["line"])
    assert slope == pytest.approx(3, abs=1e-3) and offset == pytest.approx(-2, abs=1e-3)


def test_run_trains_and_tests_a_net_of_python_layers(here):
    result = caffe.run("solver.prototxt", out="out")
    assert result.iteration == 100 and result.state == "finished"
    assert result.last_test("loss") < 1e-3


def test_a_command_shows_where_a_python_layer_failed(here, capsys):
    text = TRAINED.replace('layer: "SquaredError"', 'layer: "Fails" param_str: "forward"')
    (here / "net.prototxt").write_text(text)
    assert cli.main(["run", "solver.prototxt", "--out", "out"]) == 1
    told = capsys.readouterr().err
    assert 'raise KeyError("forward went wrong")' in told
    assert "in forward of layer 'loss'" in told and "a bug of pycaffe_clr" not in told


def test_gradients_are_those_of_layers_of_the_library(make):
    """A Scale with a bias computes what Affine does."""
    inputs = """
layer { name: "in" type: "Input" top: "x" top: "target" input_param { shape { dim: 6 dim: 1 } } }
"""
    ip = """
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "h"
  inner_product_param { num_output: 1 weight_filler { type: "constant" value: 0.7 } } }
"""
    loss = python_layer("SquaredError", "loss", "y target", "loss").replace(
        "python_param", "loss_weight: 2 python_param"
    )
    scale = """
layer { name: "line" type: "Scale" bottom: "h" top: "y" scale_param { bias_term: true num_axes: 0
  filler { value: 0.5 } bias_filler { value: 1 } } }
"""
    nets = [
        make(inputs + ip + layer + loss)
        for layer in (scale, python_layer("Affine", "line", "h", "y", 'param_str: "0.5,1"'))
    ]
    for net in nets:
        random = np.random.default_rng(2)
        net.blobs["x"].data[...] = random.standard_normal((6, 1))
        net.blobs["target"].data[...] = random.standard_normal((6, 1))
        net.forward()
        net.backward()
    library, python = nets
    assert python.blobs["loss"].data[0] == pytest.approx(library.blobs["loss"].data[0])
    for name in ("ip", "line"):
        for ours, theirs in zip(python.params[name], library.params[name], strict=True):
            np.testing.assert_allclose(ours.diff.ravel(), theirs.diff.ravel(), rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (python_layer("Missing"), "has no class 'Missing'"),
        (python_layer("BACKENDS"), "has no class 'BACKENDS'"),
        (python_layer("Tenfold").replace(__name__, "no_such_module"), "no Python module 'no_such"),
        ('layer { name: "p" type: "Python" bottom: "data" top: "top" }', "expected python_param"),
        (python_layer("Tenfold", top=""), "list index"),
    ],
)
def test_what_is_wrong_with_a_python_layer_is_told(text, message, make):
    with pytest.raises((ConfigError, IndexError), match=message):
        make(INPUT + text)


def test_bottoms_keep_their_shapes(make):
    net = make(INPUT + python_layer("Shrinks"))
    with pytest.raises(ConfigError, match=r"LayerBlob\('data', shape=\(1,\)\) had the shape"):
        net.forward()


def test_a_missing_method_is_told_by_its_name(make):
    net = make(INPUT + python_layer("NoBackward"))
    net.forward()
    with pytest.raises(NotImplementedError, match="NoBackward defines no backward"):
        net.backward()


def test_replicas_and_python_layers_exclude_each_other(make):
    with pytest.raises(ConfigError, match="would mix them; use replicas: 1"):
        make(INPUT + python_layer("Tenfold"), replicas=2)


def test_no_field_of_python_param_is_called_unused(make, caplog):
    make(INPUT + python_layer("Tenfold", more='param_str: "x" share_in_parallel: true'))
    assert not caplog.records


class Keeper(Tenfold):
    kept: list[np.ndarray] = []

    def forward(self, bottom, top):
        super().forward(bottom, top)
        self.kept.append(top[0].data)


def test_arrays_that_a_layer_keeps_outlive_the_net(make):
    net = make(INPUT + python_layer("Keeper"))
    net.blobs["data"].data[...] = 4
    net.forward()
    del net
    gc.collect()
    (kept,) = Keeper.kept
    Keeper.kept.clear()
    assert (kept == 40).all()


class Watched(Tenfold):
    made: list[weakref.ref] = []

    def setup(self, bottom, top):
        self.made.append(weakref.ref(self))


def test_a_layer_ends_with_its_net(make):
    net = make(INPUT + python_layer("Watched"))
    (layer,) = Watched.made
    assert layer() is not None
    del net
    gc.collect()
    assert layer() is None


# --- types of one's own ---------------------------------------------------------------------------


@pytest.fixture
def tenfold_type() -> Iterator[str]:
    caffe.register_layer("Tenfold", Tenfold)
    yield "Tenfold"
    assert ready_core().unregister_layer("Tenfold")


def test_a_registered_class_is_a_layer_type(tenfold_type, make):
    assert tenfold_type in caffe.layer_type_list()
    net = make(INPUT + 'layer { name: "ten" type: "Tenfold" bottom: "data" top: "top" }')
    net.blobs["data"].data[...] = 2
    assert (net.forward()["top"] == 20).all()
    with pytest.raises(ConfigError, match="there is a layer type 'Tenfold' already"):
        caffe.register_layer("Tenfold", Tenfold)
    with pytest.raises(ConfigError, match="there is a layer type 'ReLU' already"):
        caffe.register_layer("ReLU", Tenfold)


def test_a_type_may_go_before_its_nets(make):
    caffe.register_layer("Passing", Tenfold)
    net = make(INPUT + 'layer { name: "ten" type: "Passing" bottom: "data" top: "top" }')
    assert ready_core().unregister_layer("Passing")
    assert not ready_core().unregister_layer("Passing")
    net.blobs["data"].data[...] = 3
    assert (net.forward()["top"] == 30).all()
    with pytest.raises(ConfigError, match="type 'Passing' is unknown"):
        make(INPUT + 'layer { name: "ten" type: "Passing" bottom: "data" top: "top" }')


def test_types_come_and_go_in_many_threads(make):
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(50):
                caffe.register_layer(f"Own{number}", Tenfold)
                assert f"Own{number}" in caffe.layer_type_list()
                assert ready_core().unregister_layer(f"Own{number}")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        make(THREE)
    for thread in threads:
        thread.join()
    assert not errors
    assert not [name for name in caffe.layer_type_list() if name.startswith("Own")]


def test_two_nets_with_python_layers_run_in_two_threads(make):
    nets = [make(THREE) for _ in range(2)]
    for number, net in enumerate(nets):
        net.blobs["data"].data[...] = number + 1
    threads = [
        threading.Thread(target=lambda net=net: [net.forward() for _ in range(20)]) for net in nets
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, net in enumerate(nets):
        assert (net.blobs["three"].data == 1000 * (number + 1)).all()
