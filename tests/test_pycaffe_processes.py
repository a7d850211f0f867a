"""pycaffe's way to train in several processes: the calls of Caffe's python/train.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from train_cases import make_case

import pycaffe_clr as caffe
from pycaffe_clr.weights import read_weights

# In the order in which that script makes them.
SCRIPT = """
from multiprocessing import Process
import sys
import pycaffe_clr as caffe

def solve(proto, ranks, uid, rank):
    caffe.set_mode_cpu()
    caffe.set_device(rank)
    caffe.set_solver_count(ranks)
    caffe.set_solver_rank(rank)
    caffe.set_multiprocess(True)
    solver = caffe.NesterovSolver(proto, data_dir=".")
    nccl = caffe.NCCL(solver, uid)
    nccl.bcast()
    calls = []
    solver.add_callback(lambda: calls.append("start"), lambda: calls.append("gradients"))
    solver.add_callback(nccl)
    solver.add_callback("", lambda: calls.append("done"))
    if solver.param.layer_wise_reduce:
        solver.net.after_backward(nccl)
    solver.step(solver.param.max_iter)
    assert calls == ["start", "gradients", "done"] * solver.param.max_iter
    solver.net.save(f"rank{rank}.caffemodel")

if __name__ == "__main__":
    uid = caffe.NCCL.new_uid()
    ranks = 2
    made = [Process(target=solve, args=("tiny.prototxt", ranks, uid, r)) for r in range(ranks)]
    for process in made:
        process.start()
    for process in made:
        process.join()
    sys.exit(any(process.exitcode for process in made))
"""
STATISTICS = "bn"


@pytest.mark.parametrize("seed", ["", "random_seed: -1"])
def test_processes_train_as_replicas(tmp_path: Path, monkeypatch, one_thread, seed: str) -> None:
    monkeypatch.chdir(tmp_path)
    make_case(tmp_path)
    text = Path("tiny.prototxt").read_text().replace("max_iter: 60", "max_iter: 20")
    if seed:
        text = text.replace("random_seed: 3", seed)
    Path("tiny.prototxt").write_text(text)
    Path("script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    ranks = [read_weights(f"rank{r}.caffemodel") for r in (0, 1)]
    for layer, blobs in ranks[0].items():
        same = all(map(np.array_equal, blobs, ranks[1][layer]))
        # Statistics are each process's own.
        assert same == (layer != STATISTICS), layer
    if seed:
        return
    solver = caffe.NesterovSolver("tiny.prototxt", data_dir=".", replicas=2)
    solver.step(20)
    solver.net.save("replicas.caffemodel")
    for layer, blobs in read_weights("replicas.caffemodel").items():
        for mine, theirs in zip(ranks[0][layer], blobs, strict=True):
            np.testing.assert_allclose(mine, theirs, 1e-3, 1e-5, err_msg=layer)
