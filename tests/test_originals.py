"""The report's own nets and solvers parse, build and train a step, on made-up data."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pytest
from golden_data import SHARED

from pycaffe_clr.data import synthetic
from pycaffe_clr.engine import Records, build_net, ready_core
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.prototxt import layer_specs, read_net, read_solver, solver_nets
from pycaffe_clr.train import passes
from pycaffe_clr.train.session import Session

ORIGINALS = SHARED / "originals"
NETS = {path.stem: path for path in sorted(ORIGINALS.glob("*/architectures/*.prototxt"))}
SOLVERS = {
    f"{path.parent.name}/{path.stem}": path
    for pattern in ("Cifar/*.prototxt", "Imagenet/*/*.prototxt")
    for path in sorted(ORIGINALS.glob(pattern))
    if path.parent.name != "architectures"
}
pytestmark = pytest.mark.skipif(not NETS, reason="the report's originals are not here")

# What the author's scripts put in for the placeholders, here for short runs.
DEFINES = {"xBS": "4", "xLR1": "0.01", "xLR2": "0.001", "xStep": "20", "xIter": "40"}
DEFINES |= {"xwd": "1e-4", "xmom": "0.9", "xmom1": "0.95", "xmom2": "0.85", "xmom3": "20"}
DEFINES |= {f"xSV{i}": str(10 * i) for i in range(1, 6)}
SOME_SOLVER = """
type: "Nesterov" lr_policy: "1cycle" base_lr: 1e-4 max_lr: 1e-3 stepsize: 10 max_iter: 20
momentum: 0.95 test_iter: 1 test_interval: 100 test_initialization: false
"""
# A net of the shape that a CIFAR solver of the report trains, small enough for all of them.
TINY = """
layer { name: "d" type: "Data" top: "data" top: "label" data_param {
  source: "examples/cifar10/cifar10_train_lmdb" batch_size: 2 backend: LMDB } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 10 weight_filler { type: "gaussian" std: 1e-4 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder with a few made-up records under every path that the originals name."""
    root = tmp_path_factory.mktemp("data")
    for like in ("cifar10", "cifar100"):
        synthetic.make(root, like, 64, 110)
    synthetic.make(root, "imagenet", 3, 3)
    return root


def read(name: str):
    """A net of the report, cut to batches that a test has time for."""
    param = read_net(NETS[name], DEFINES)
    imagenet = "Imagenet" in NETS[name].parts
    for layer in param.layer:
        if layer.type == "Data":
            layer.data_param.batch_size = 1 if imagenet else min(layer.data_param.batch_size, 4)
    return param


def step(solver, nets, data: Path, count: int = 1) -> Session:
    session = Session(solver, nets=nets, data_dir=data, seed=1)
    losses = []
    for _ in range(count):
        losses.append(session.core.forward_backward())
        session.core.apply_update()
    assert all(math.isfinite(loss) and loss > 0 for loss in losses)
    return session


def test_all_of_them_are_looked_at():
    assert len(NETS) == 9
    assert len(SOLVERS) == 19


@pytest.mark.parametrize("name", NETS)
def test_a_net_of_the_report_trains_a_step(name, data, tmp_path):
    param = read(name)
    solver = tmp_path / "solver.prototxt"
    solver.write_text(SOME_SOLVER)
    message = read_solver(solver)
    message.net_param.CopyFrom(param)
    session = step(message, solver_nets(message, solver), data)
    outputs = dict(passes.outputs(session.net))
    classes = 1000 if "Imagenet" in NETS[name].parts else 100 if "100" in name else 10
    # Nothing is known at the start: about what guessing costs.
    assert any(0.3 * math.log(classes) < v < 6 * math.log(classes) for v in outputs.values())
    if classes < 1000:
        result = session.test(0)
        assert result is not None and math.isfinite(result.loss)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_solver_of_the_report_trains_a_step(name, data, tmp_path):
    net = tmp_path / "net.prototxt"
    net.write_text(TINY)
    solver = read_solver(SOLVERS[name], DEFINES, {"net": str(net)})
    session = step(solver, solver_nets(solver, SOLVERS[name], DEFINES), data, 3)
    assert session.iteration == 3


@pytest.mark.parametrize("name", [n for n in SOLVERS if n.startswith("Cifar")])
def test_a_placeholder_without_a_value_is_named(name):
    with pytest.raises(ConfigError, match="xLR"):
        read_solver(SOLVERS[name])


def test_the_net_that_a_solver_lacks_is_named_with_what_to_do():
    solver = read_solver(SOLVERS["inception/bsolver1"])
    with pytest.raises(ConfigError, match=r"inception-resnet-v2.*--set net=FILE"):
        solver_nets(solver, SOLVERS["inception/bsolver1"])


class Blank(Records):
    """Stands for databases: no test of building has to read ImageNet."""

    def feed(self, settings, where, color=None):
        return ready_core().ArrayFeed(np.zeros((1, 3, 256, 256), np.uint8), np.zeros(1, np.int32))

    def mean(self, name, shape):
        return np.zeros(shape, np.float32)


def test_the_largest_net_is_ready_quickly(record_property):
    """238 KB of prototxt: below 3 s of this process's own time, however busy the machine is."""
    begin = time.process_time()
    param = read_net(NETS["inception-resnet-v2"])
    assert len(layer_specs(param, 0)) > 700
    parsed = time.process_time() - begin
    build_net(param, phase=0, fuse=True, seed=1, records=Blank())
    whole = time.process_time() - begin
    record_property("parse_seconds", round(parsed, 2))
    record_property("build_seconds", round(whole, 2))
    assert parsed < 1.5
    assert whole < 3 * ready_core().threads()
