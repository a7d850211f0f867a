"""Equal seed, thread count and processor give equal bits; the reference backend on any threads."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from golden_data import BACKENDS, need

from pycaffe_clr.data import writer

# All that draws random numbers, and all whose sums are cut up among threads: mirror and crop,
# a sparse filler, dropout, convolutions with and without groups, BatchNorm, LRN, both poolings.
NET = """
name: "random"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.01 mirror: true crop_size: 13 }
  data_param { source: "train_lmdb" batch_size: 12 backend: LMDB } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { scale: 0.01 crop_size: 13 }
  data_param { source: "train_lmdb" batch_size: 7 backend: LMDB } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 16 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "bn1" type: "BatchNorm" bottom: "conv1" top: "bn1" }
layer { name: "scale1" type: "Scale" bottom: "bn1" top: "bn1" scale_param { bias_term: true } }
layer { name: "relu1" type: "ReLU" bottom: "bn1" top: "bn1" }
layer { name: "conv2" type: "Convolution" bottom: "bn1" top: "conv2"
  convolution_param { num_output: 16 kernel_size: 3 pad: 1 group: 2
    weight_filler { type: "xavier" } } }
layer { name: "sum" type: "Eltwise" bottom: "bn1" bottom: "conv2" top: "sum" }
layer { name: "norm" type: "LRN" bottom: "sum" top: "norm" lrn_param { local_size: 3 } }
layer { name: "pool1" type: "Pooling" bottom: "norm" top: "pool1"
  pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layer { name: "drop" type: "Dropout" bottom: "pool1" top: "pool1"
  dropout_param { dropout_ratio: 0.3 } }
layer { name: "ip1" type: "InnerProduct" bottom: "pool1" top: "ip1"
  inner_product_param { num_output: 20
    weight_filler { type: "gaussian" std: 0.05 sparse: 12 } } }
layer { name: "relu2" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
"""
SOLVER = """
net: "net.prototxt"
type: "Nesterov" lr_policy: "1cycle" base_lr: 0.01 max_lr: 0.05 stepsize: 4 max_iter: 8
momentum: 0.95 cyclical_momentum: 0.85 cyclical_momentum: 4 weight_decay: 1e-4
display: 3 test_iter: 2 test_interval: 4 snapshot_prefix: "run" clip_gradients: 20
"""

# Run in a process of its own: argv is backend, threads, fuse, seed, replicas.
PROGRAM = """
import hashlib, io, re, sys
import numpy as np
from pycaffe_clr.engine import ready_core
from pycaffe_clr.prototxt import read_solver
from pycaffe_clr.train.log import CaffeLog
from pycaffe_clr.train.session import Session
backend, threads, fuse, seed, replicas = sys.argv[1], *map(int, sys.argv[2:])
ready_core().set_threads(threads)
log = io.StringIO()
session = Session(read_solver("solver.prototxt"), path="solver.prototxt", device=backend,
                  fuse=bool(fuse), seed=seed, replicas=replicas, log=CaffeLog(log))
session.step(8)
digest = hashlib.sha256()
for i, _ in enumerate(session.net.params()):
    digest.update(np.ascontiguousarray(session.net.param_data(i)).tobytes())
for i in session.net.learnable():
    digest.update(np.ascontiguousarray(session.core.history(i)).tobytes())
for line in log.getvalue().splitlines():
    # Neither the time nor the speed.
    line = re.sub(r"^\\S+ \\S+ +\\d+ |\\(.* iters\\)", "", line)
    digest.update(line.encode())
print(digest.hexdigest())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A small database of noise, a net and a solver."""
    path = tmp_path_factory.mktemp("determinism")
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (50, 3, 16, 16), np.uint8)
    writer.write_records(path / "train_lmdb", images, random.integers(0, 10, 50), 8)
    (path / "net.prototxt").write_text(NET)
    (path / "solver.prototxt").write_text(SOLVER)
    return path


def outcome(folder: Path, backend: str, threads: int, **settings: int) -> str:
    """A digest of weights, histories and log lines of a run in a process of its own."""
    numbers = {"fuse": 1, "seed": 4, "replicas": 1} | settings
    arguments = [backend, str(threads), *map(str, numbers.values())]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONHASHSEED": "random"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    digest = done.stdout.split()[-1]
    assert len(digest) == hashlib.sha256().digest_size * 2
    return digest


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("backend", BACKENDS)
def test_two_runs_are_identical_bit_for_bit(folder, backend, threads):
    need(backend)
    assert outcome(folder, backend, threads) == outcome(folder, backend, threads)


def test_two_runs_with_replicas_and_all_blobs_kept_are_identical(folder):
    settings = {"replicas": 2, "fuse": 0}
    assert outcome(folder, "cpu", 2, **settings) == outcome(folder, "cpu", 2, **settings)


def test_the_reference_backend_does_not_depend_on_threads(folder):
    digests = {outcome(folder, "reference", threads) for threads in (1, 2, 3)}
    assert len(digests) == 1


def test_another_seed_is_another_run(folder):
    assert outcome(folder, "reference", 1) != outcome(folder, "reference", 1, seed=5)
