"""A tiny problem that a net learns in a second, for range tests, searches and recipes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pycaffe_clr.data.writer import write_records

NET = """
name: "blobs"
layer {
  name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.00390625 }
  data_param { source: "blobs/train" batch_size: 16 }
}
layer {
  name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { scale: 0.00390625 }
  data_param { source: "blobs/test" batch_size: 40 }
}
layer {
  name: "ip1" type: "InnerProduct" bottom: "data" top: "ip1"
  inner_product_param { num_output: 16 weight_filler { type: "xavier" } }
}
layer { name: "relu" type: "ReLU" bottom: "ip1" top: "ip1" }
layer {
  name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2"
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } }
}
layer {
  name: "accuracy" type: "Accuracy" bottom: "ip2" bottom: "label" top: "accuracy"
  include { phase: TEST }
}
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
"""

SOLVER = """
net: "net.prototxt"
test_iter: 5
test_interval: 40
display: 40
max_iter: 400
lr_policy: "1cycle"
base_lr: 0.02
max_lr: 0.2
stepsize: 180
momentum: 0.95
cyclical_momentum: 0.85
cyclical_momentum: 180
weight_decay: 0.0005
type: "Nesterov"
snapshot_prefix: "blobs"
random_seed: 1
"""


def make_blobs(folder: Path) -> Path:
    """Write databases, net and solver into a folder; the solver's path. Give it as data_dir."""
    generator = np.random.default_rng(0)
    centres = generator.uniform(60, 190, (4, 1, 6, 6))
    for name, count in (("train", 400), ("test", 200)):
        labels = np.arange(count) % 4
        images = centres[labels] + generator.normal(0, 60, (count, 1, 6, 6))
        write_records(folder / "blobs" / name, images.clip(0, 255).astype(np.uint8), labels, 8)
    (folder / "net.prototxt").write_text(NET)
    solver = folder / "blobs.prototxt"
    solver.write_text(SOLVER)
    return solver
