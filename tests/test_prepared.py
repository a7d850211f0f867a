"""Weights that ops keep in an order of their own follow the parameters, whoever changes these."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from golden_data import BACKENDS, need

import pycaffe_clr as caffe

pytestmark = pytest.mark.usefixtures("one_thread")

# Convolutions that oneDNN, where it is there, wants to put in order.
NET = """
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 2 dim: 3 dim: 12 dim: 12 } shape { dim: 2 }
  data_filler { type: "constant" value: 0.5 } data_filler { type: "constant" } } }
layer { name: "first" type: "Convolution" bottom: "data" top: "first" convolution_param {
  num_output: 16 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "second" type: "Convolution" bottom: "first" top: "second" convolution_param {
  num_output: 16 kernel_size: 1 stride: 2 weight_filler { type: "xavier" } } }
layer { name: "up" type: "Deconvolution" bottom: "second" top: "up" convolution_param {
  num_output: 8 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "ip" type: "InnerProduct" bottom: "up" top: "ip" inner_product_param {
  num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
SOLVER = """
train_net: "net.prototxt" test_net: "net.prototxt" test_iter: 2 test_interval: 1000
base_lr: 0.05 lr_policy: "fixed" type: "SGD" snapshot_prefix: "snap" iter_size: 2
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(net: caffe.Net) -> float:
    """That a test net gives what a new one with the same parameters gives. Returns its loss."""
    fresh = caffe.Net("net.prototxt", caffe.TEST, device="reference")
    for name, blobs in net.params.items():
        for own, blob in zip(fresh.params[name], blobs, strict=True):
            own.data[...] = blob.data
    loss = float(net.forward()["loss"])
    assert loss == pytest.approx(float(fresh.forward()["loss"]), rel=1e-4)
    return loss


def change(net: caffe.Net, seed: int) -> None:
    random = np.random.default_rng(seed)
    for blobs in net.params.values():
        for blob in blobs:
            blob.data[...] = random.uniform(-0.2, 0.2, blob.shape)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_net_follows_what_is_written_to_its_parameters(backend, folder):
    need(backend)
    net = caffe.Net("net.prototxt", caffe.TEST, device=backend, fuse=True)
    losses = {check(net)}
    for seed in range(3):
        change(net, seed)
        losses.add(check(net))
    net.save("weights.caffemodel")
    change(net, 7)
    losses.add(check(net))
    net.copy_from("weights.caffemodel")
    assert check(net) in losses
    assert len(losses) == 5


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_test_net_follows_training_and_snapshots(backend, folder):
    need(backend)
    solver = caffe.get_solver("solver.prototxt", device=backend, fuse=True, seed=1)
    test = solver.test_nets[0]
    losses = [float(test.forward()["loss"])]
    solver.step(2)
    losses.append(float(test.forward()["loss"]))
    solver.snapshot()
    weights = {name: [b.data.copy() for b in blobs] for name, blobs in solver.net.params.items()}
    solver.step(2)
    losses.append(float(test.forward()["loss"]))
    assert losses[0] > losses[1] > losses[2]
    solver.restore("snap_iter_2.solverstate")
    for name, blobs in solver.net.params.items():
        for blob, saved in zip(blobs, weights[name], strict=True):
            np.testing.assert_array_equal(blob.data, saved)
    assert float(test.forward()["loss"]) == losses[1]
