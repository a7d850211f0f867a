"""R replicas in one program train as R nets, each with a batch of its own, would together."""

from __future__ import annotations

import numpy as np
import pytest
from golden_data import BACKENDS, distance, need

from pycaffe_clr.engine import build_net, ready_core
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.prototxt import parse_net

BATCH = 4
RECORDS = 24
SHAPE = (3, 7, 6)
# Sums in another order; there is nothing else that may differ.
TOLERANCE = 1e-5

# Two BatchNorm layers, one of them with the residual sum behind it: both forms that are fused.
NET = """
name: "replicas"
layer { name: "data" type: "Data" top: "data" top: "label"
  transform_param { scale: 0.01 mean_value: 120 } data_param { source: "db" batch_size: 4 } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 bias_term: false
    weight_filler { type: "msra" } } }
layer { name: "bn1" type: "BatchNorm" bottom: "conv1" top: "bn1" }
layer { name: "scale1" type: "Scale" bottom: "bn1" top: "bn1" scale_param { bias_term: true } }
layer { name: "relu1" type: "ReLU" bottom: "bn1" top: "bn1" }
layer { name: "conv2" type: "Convolution" bottom: "bn1" top: "conv2"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "bn2" type: "BatchNorm" bottom: "conv2" top: "bn2"
  batch_norm_param { moving_average_fraction: 0.9 } }
layer { name: "scale2" type: "Scale" bottom: "bn2" top: "bn2" scale_param { bias_term: true } }
layer { name: "sum" type: "Eltwise" bottom: "bn1" bottom: "bn2" top: "sum" }
layer { name: "relu2" type: "ReLU" bottom: "sum" top: "sum" }
layer { name: "pool" type: "Pooling" bottom: "sum" top: "pool"
  pooling_param { pool: AVE global_pooling: true } }
layer { name: "ip" type: "InnerProduct" bottom: "pool" top: "ip"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss"
  loss_param { ignore_label: 0 } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" }
"""
SETTINGS = {
    "type": "Nesterov",
    "lr_policy": "fixed",
    "base_lr": 0.05,
    "momentum": 0.9,
    "weight_decay": 0.01,
    "max_iter": 100,
}


class Share:
    """Stands for a database that holds every `step`-th record from `first` on."""

    def __init__(self, first: int = 0, step: int = 1) -> None:
        random = np.random.default_rng(3)
        records = random.integers(0, 256, (RECORDS, *SHAPE), np.uint8)
        # Classes differ in brightness, so that there is something to learn and statistics differ.
        labels = random.integers(0, 5, RECORDS).astype(np.int32)
        records = (records // 2 + (20 * labels)[:, None, None, None]).astype(np.uint8)
        self._records, self._labels = records[first::step].copy(), labels[first::step].copy()

    def feed(self, settings, where, color=None):
        return ready_core().ArrayFeed(self._records, self._labels)


def make(
    records: Share,
    replicas: int = 1,
    backend: str = "reference",
    fuse: bool = False,
    text: str = NET,
):
    net, _ = build_net(
        parse_net(text),
        phase=0,
        device=backend,
        fuse=fuse,
        replicas=replicas,
        seed=5,
        records=records,
    )
    return net


def params(net) -> dict[str, np.ndarray]:
    return {f"{p['layer']}/{p['index']}": net.param_data(i) for i, p in enumerate(net.params())}


def learned(net) -> list[int]:
    return list(net.learnable())


def solver_of(net, **changes):
    return ready_core().Solver(net, SETTINGS | changes)


class Separate:
    """What R devices do: each a net and a batch of its own, gradients averaged, one update."""

    def __init__(self, count: int, backend: str, iter_size: int = 1, text: str = NET) -> None:
        self.nets = [make(Share(r, count), backend=backend, text=text) for r in range(count)]
        self.solver = solver_of(self.nets[0])
        self.iter_size = iter_size
        self._follow()

    def _follow(self) -> None:
        """Every net takes the first one's learned parameters; statistics stay its own."""
        root = self.nets[0]
        for net in self.nets[1:]:
            for index in learned(root):
                net.param_data(index)[...] = root.param_data(index)

    def gradients(self) -> float:
        losses = []
        for net in self.nets:
            net.clear_param_diffs()
            for _ in range(self.iter_size):
                loss = net.forward()
                net.backward()
            losses.append(loss)
        root = self.nets[0]
        for index in learned(root):
            total = sum(np.array(net.param_diff(index), np.float64) for net in self.nets)
            root.param_diff(index)[...] = total / len(self.nets) / self.iter_size
        return losses[0]

    def update(self) -> None:
        self.solver.apply_update()
        self._follow()


def assert_near(ours, theirs) -> None:
    apart = {key: distance(ours[key], theirs[key]) for key in theirs}
    assert not {key: value for key, value in apart.items() if not value <= TOLERANCE}


def assert_train_alike(whole, apart, iterations: int) -> None:
    """One net with replicas trains as separate nets whose gradients are averaged."""
    solver = solver_of(whole)
    for iteration in range(iterations):
        loss = solver.forward_backward()
        assert loss == pytest.approx(apart.gradients(), rel=5e-5), iteration
        solver.apply_update()
        apart.update()
    for key, value in params(apart.nets[0]).items():
        if key != "conv2/1":
            assert distance(params(whole)[key], value) <= 1e-4, key


CASES = pytest.mark.parametrize(
    ("backend", "replicas", "fuse"),
    [(b, r, f) for b in BACKENDS for r, f in [(2, False), (2, True), (3, True)]],
)


@CASES
def test_gradients_are_the_mean_of_separate_batches(backend, replicas, fuse):
    need(backend)
    whole, apart = make(Share(), replicas, backend, fuse), Separate(replicas, backend)
    loss = solver_of(whole).forward_backward()
    assert loss == pytest.approx(apart.gradients(), rel=TOLERANCE)
    root = apart.nets[0]
    # The bias before BatchNorm has no gradient but rounding.
    keys = {f"{p['layer']}/{p['index']}": i for i, p in enumerate(root.params())}
    ours = {k: np.array(whole.param_diff(i)) for k, i in keys.items() if i in learned(root)}
    theirs = {k: np.array(root.param_diff(i)) for k, i in keys.items() if i in learned(root)}
    ours.pop("conv2/1"), theirs.pop("conv2/1")
    assert_near(ours, theirs)


@pytest.mark.parametrize("where", ["ip", "pool", "relu2", "conv2", "loss"])
@CASES
def test_a_loss_weight_on_any_top_counts_as_on_separate_nets(backend, replicas, fuse, where):
    need(backend)
    weighted = f'top: "{where}"\n', f'top: "{where}" loss_weight: 0.01\n'
    if where == "loss":
        weighted = 'top: "loss"\n', 'top: "loss" loss_weight: 0.3\n'
    elif where == "relu2":
        weighted = 'bottom: "sum" top: "sum" }', 'bottom: "sum" top: "sum" loss_weight: 0.01 }'
    text = NET.replace(*weighted, 1)
    assert "loss_weight" in text
    whole = make(Share(), replicas, backend, fuse, text)
    apart = Separate(replicas, backend, text=text)
    assert_train_alike(whole, apart, 3)


@CASES
def test_outputs_and_statistics_are_those_of_replica_0(backend, replicas, fuse):
    need(backend)
    whole, apart = make(Share(), replicas, backend, fuse), Separate(replicas, backend)
    for _ in range(2):
        whole.forward()
        for net in apart.nets:
            net.forward()
    for name in whole.outputs():
        assert whole.read(name) == pytest.approx(apart.nets[0].read(name), rel=TOLERANCE)
    ours, theirs, others = params(whole), params(apart.nets[0]), params(apart.nets[1])
    for key in ("bn1/0", "bn1/1", "bn1/2", "bn2/0", "bn2/1", "bn2/2"):
        assert distance(ours[key], theirs[key]) <= TOLERANCE, key
    # Without this the check above would prove little.
    assert distance(others["bn1/0"], theirs["bn1/0"]) > 1e-3


@pytest.mark.parametrize("backend", BACKENDS)
def test_record_i_goes_to_replica_i_mod_r(backend):
    need(backend)
    replicas = 3
    whole, apart = make(Share(), replicas, backend), Separate(replicas, backend)
    whole.forward()
    for r, net in enumerate(apart.nets):
        net.forward()
        mine = slice(r * BATCH, (r + 1) * BATCH)
        np.testing.assert_array_equal(whole.data("data")[mine], net.data("data"))
        np.testing.assert_array_equal(whole.data("label")[mine], net.data("label"))
        # What a layer makes of a sample hangs on its own replica alone.
        for name in ("bn1", "sum", "ip"):
            assert distance(whole.data(name)[mine], net.data(name)) <= TOLERANCE


@CASES
def test_training_goes_as_on_separate_nets(backend, replicas, fuse):
    need(backend)
    whole, apart = make(Share(), replicas, backend, fuse), Separate(replicas, backend)
    assert_train_alike(whole, apart, 5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_replicas_and_iter_size_together(backend):
    need(backend)
    whole, apart = make(Share(), 2, backend, fuse=True), Separate(2, backend, iter_size=2)
    solver = solver_of(whole, iter_size=2)
    for _ in range(2):
        solver.forward_backward()
        apart.gradients()
        solver.apply_update()
        apart.update()
    for key, value in params(apart.nets[0]).items():
        if key != "conv2/1":
            assert distance(params(whole)[key], value) <= 1e-4, key


def test_one_replica_changes_nothing():
    plain, one = make(Share()), make(Share(), 1)
    for net in (plain, one):
        solver_of(net).run(3, 1e9)
    for key, value in params(plain).items():
        np.testing.assert_array_equal(params(one)[key], value)


@pytest.mark.parametrize("replicas", [0, -1])
def test_no_replicas_are_refused(replicas):
    with pytest.raises(ConfigError, match="replicas"):
        make(Share(), replicas)


def test_a_layer_that_mixes_samples_is_refused_under_replicas():
    loss = 'bottom: "ip" bottom: "label" top: "loss"'
    text = NET.replace(loss, 'bottom: "cut" bottom: "l1" top: "loss"')
    cut = """
    layer { name: "cut" type: "Slice" bottom: "ip" top: "cut" top: "rest" slice_param { axis: 0 } }
    layer { name: "labels" type: "Slice" bottom: "label" top: "l1" top: "l2"
      slice_param { axis: 0 } }"""
    text = text.replace('layer { name: "loss"', cut + 'layer { name: "loss"')
    with pytest.raises(ConfigError, match="replicas"):
        build_net(parse_net(text), phase=0, replicas=2, seed=1, records=Share())
