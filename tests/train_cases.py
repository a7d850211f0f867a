"""A tiny solver with everything that a resume must get right, and the runs to compare."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from pycaffe_clr.data.writer import write_records

NET = """
name: "tiny"
layer {
  name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { crop_size: 8 mirror: true scale: 0.00390625 }
  data_param { source: "tiny/train" batch_size: 6 }
}
layer {
  name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { crop_size: 8 scale: 0.00390625 }
  data_param { source: "tiny/test" batch_size: 4 }
}
layer {
  name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 bias_term: false weight_filler { type: "msra" } }
}
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv" }
layer {
  name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } }
}
layer {
  name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy"
  include { phase: TEST }
}
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""

SOLVER = """
net: "net.prototxt"
test_iter: 3
test_interval: 20
display: 10
average_loss: 4
max_iter: 60
lr_policy: "1cycle"
base_lr: 0.01
max_lr: 0.1
stepsize: 25
momentum: 0.95
cyclical_momentum: 0.85
cyclical_momentum: 25
weight_decay: 0.0005
type: "Nesterov"
snapshot: 40
snapshot_prefix: "elsewhere/tiny"
random_seed: 3
"""

SIZES = {"train": 37, "test": 10}


def make_case(folder: Path, extra: str = "", net: str = NET) -> Path:
    """Write databases, net and solver into a folder; the solver's path."""
    generator = np.random.default_rng(0)
    for name, count in SIZES.items():
        labels = np.arange(count) % 3
        images = generator.integers(0, 120, (count, 2, 10, 10)).astype(np.uint8)
        images += (labels * 60).astype(np.uint8)[:, None, None, None]
        write_records(folder / "tiny" / name, images, labels, 8)
    (folder / "net.prototxt").write_text(net)
    solver = folder / "tiny.prototxt"
    solver.write_text(SOLVER + extra)
    return solver


_PREFIX = re.compile(r"^([IWE])\d{4} [\d:.]+ \d+ ", re.MULTILINE)
_RATE = re.compile(r"\([-\w.+]+ iter/s, [-\w.+]+s/")


def log_text(folder: Path) -> str:
    """A run's log without what depends on the clock and the process."""
    text = (folder / "train.log").read_text()
    return _RATE.sub("(? iter/s, ?s/", _PREFIX.sub(r"\1 ", text))


def results(folder: Path) -> dict[str, object]:
    """What two equal runs have equal."""
    return {
        "log": log_text(folder),
        "metrics": (folder / "metrics.csv").read_bytes(),
        "tests": (folder / "tests.csv").read_bytes(),
        **{path.name: path.read_bytes() for path in sorted(folder.glob("*.caffemodel"))},
    }


def command(*words: str | Path, **kwargs: object) -> subprocess.Popen[str]:
    """Start `pycaffe_clr ...` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "pycaffe_clr", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        **kwargs,  # type: ignore[call-overload]
    )
