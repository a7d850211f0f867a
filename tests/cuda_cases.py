"""Small nets and their solvers, for tests of whole runs on the CUDA backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pycaffe_clr.data.writer import write_records
from pycaffe_clr.prototxt import read_solver
from pycaffe_clr.train.session import Session
from pycaffe_clr.train.state import views


def conv(name: str, bottom: str, outputs: int, kernel: int, more: str = "") -> str:
    return f"""
layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}"
  convolution_param {{ num_output: {outputs} kernel_size: {kernel} {more}
    weight_filler {{ type: "msra" }} }} }}"""


def norm(blob: str, relu: bool = True) -> str:
    """BatchNorm, Scale and ReLU in place."""
    text = f"""
layer {{ name: "{blob}_bn" type: "BatchNorm" bottom: "{blob}" top: "{blob}" }}
layer {{ name: "{blob}_scale" type: "Scale" bottom: "{blob}" top: "{blob}"
  scale_param {{ bias_term: true }} }}"""
    return text + (relu_on(blob) if relu else "")


def relu_on(blob: str) -> str:
    return f"""
layer {{ name: "{blob}_relu" type: "ReLU" bottom: "{blob}" top: "{blob}" }}"""


def pool(name: str, bottom: str) -> str:
    return f"""
layer {{ name: "{name}" type: "Pooling" bottom: "{bottom}" top: "{name}"
  pooling_param {{ pool: MAX kernel_size: 2 stride: 2 }} }}"""


def inner(name: str, bottom: str, outputs: int) -> str:
    return f"""
layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}"
  inner_product_param {{ num_output: {outputs} weight_filler {{ type: "xavier" }} }} }}"""


def sum_of(name: str, left: str, right: str) -> str:
    return f"""
layer {{ name: "{name}" type: "Eltwise" bottom: "{left}" bottom: "{right}" top: "{name}" }}
{relu_on(name)}"""


def whole(transform: str, batch: int, body: str, scores: str) -> str:
    return f"""
layer {{ name: "data" type: "Data" top: "data" top: "label"
  transform_param {{ scale: 0.00390625 {transform} }}
  data_param {{ source: "records" batch_size: {batch} }} }}
{body}
layer {{ name: "accuracy" type: "Accuracy" bottom: "{scores}" bottom: "label" top: "accuracy"
  include {{ phase: TEST }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "{scores}" bottom: "label" top: "loss" }}
"""


LENET = whole(
    "",
    2,
    conv("conv1", "data", 20, 5)
    + pool("pool1", "conv1")
    + conv("conv2", "pool1", 50, 5)
    + pool("pool2", "conv2")
    + inner("ip1", "pool2", 500)
    + relu_on("ip1")
    + inner("ip2", "ip1", 10),
    "ip2",
)
# Two blocks, the second with half the pixels, twice the channels and a projection on its shortcut.
RESNET = whole(
    "crop_size: 8 mirror: true",
    4,
    conv("c0", "data", 8, 3, "pad: 1 bias_term: false")
    + norm("c0")
    + conv("c1", "c0", 8, 3, "pad: 1 bias_term: false")
    + norm("c1")
    + conv("c2", "c1", 8, 3, "pad: 1 bias_term: false")
    + norm("c2", relu=False)
    + sum_of("s1", "c0", "c2")
    + conv("c3", "s1", 16, 3, "pad: 1 stride: 2 bias_term: false")
    + norm("c3")
    + conv("c4", "c3", 16, 3, "pad: 1 bias_term: false")
    + norm("c4", relu=False)
    + conv("p", "s1", 16, 1, "stride: 2 bias_term: false")
    + norm("p", relu=False)
    + sum_of("s2", "p", "c4")
    + """
layer { name: "pool" type: "Pooling" bottom: "s2" top: "pool"
  pooling_param { pool: AVE global_pooling: true } }"""
    + inner("ip", "pool", 10),
    "ip",
)


def growth(name: str, whole: str) -> str:
    """A dense layer: what it makes of `whole` is joined to that, as `name`."""
    return (
        f"""
layer {{ name: "{name}n" type: "BatchNorm" bottom: "{whole}" top: "{name}n" }}
layer {{ name: "{name}s" type: "Scale" bottom: "{name}n" top: "{name}n"
  scale_param {{ bias_term: true }} }}"""
        + relu_on(f"{name}n")
        + conv(f"{name}c", f"{name}n", 12, 3, "pad: 1 bias_term: false")
        + f"""
layer {{ name: "{name}d" type: "Dropout" bottom: "{name}c" top: "{name}c" }}
layer {{ name: "{name}" type: "Concat" bottom: "{whole}" bottom: "{name}c" top: "{name}" }}"""
    )


DENSENET = whole(
    "crop_size: 8 mirror: true",
    4,
    conv("c0", "data", 8, 3, "pad: 1 bias_term: false")
    + growth("g1", "c0")
    + growth("g2", "g1")
    + pool("p", "g2")
    + inner("ip", "p", 10),
    "ip",
)
# And the records that each is given.
NETS = {"lenet": (LENET, (1, 28, 28)), "resnet": (RESNET, (3, 10, 10))}
CASES = {**NETS, "densenet": (DENSENET, (3, 10, 10))}

SOLVER = """
net: "net.prototxt" type: "Nesterov" lr_policy: "1cycle" base_lr: 0.01 max_lr: 0.05 stepsize: 4
momentum: 0.95 cyclical_momentum: 0.85 cyclical_momentum: 4 weight_decay: 1e-4 clip_gradients: 20
max_iter: 8 display: 1 snapshot_prefix: "run" test_iter: 2 test_interval: 3
"""


def write_case(folder: Path, name: str) -> Path:
    """Records of ten classes, a net and a solver; the solver's path."""
    net, shape = CASES[name]
    random = np.random.default_rng(2)
    labels = np.arange(20) % 10
    images = random.integers(0, 100, (20, *shape)) + (15 * labels)[:, None, None, None]
    write_records(folder / "records", images.astype(np.uint8), labels, 8)
    (folder / "net.prototxt").write_text(net)
    (folder / "solver.prototxt").write_text(SOLVER)
    return folder / "solver.prototxt"


def session_of(solver: Path, **settings: Any) -> Session:
    return Session(read_solver(solver), path=solver, seed=3, folder=solver.parent, **settings)


def arrays_of(session: Session) -> dict[str, np.ndarray]:
    """Copies of weights, statistics and histories."""
    return {key: np.array(array) for key, array in views(session.net, session.core).items()}
