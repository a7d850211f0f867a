"""Scripts written for pycaffe run unchanged: the package under Caffe's name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pycaffe_clr as caffe

SCRIPT = """
import sys
import numpy as np
import caffe
import caffe.io, caffe.draw
from caffe import layers as L, params as P
from caffe.proto import caffe_pb2
from caffe.coord_map import crop
from caffe.net_spec import NetSpec
from caffe.classifier import Classifier
from caffe.detector import Detector
from caffe.pycaffe import Net, SGDSolver
import caffe._caffe as low
from caffe._caffe import Blob, LayerVec, Solver
import pycaffe_clr

assert low.Net is caffe.pycaffe.Net and issubclass(SGDSolver, Solver)
assert caffe.Net is Net is pycaffe_clr.Net and caffe.NetSpec is NetSpec
assert caffe_pb2.NetParameter is caffe.proto.caffe_pb2.NetParameter
assert caffe.io.Transformer and caffe.Classifier is Classifier and caffe.TEST == 1
print(sys.argv, __name__, sys.modules["__main__"].__dict__ is globals())
import beside
"""


def started(*words: object, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pycaffe_clr.compat", *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("how", ["file", "module"])
def test_a_script_runs_unchanged(tmp_path, how):
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "beside.py").write_text("print('found')\n")
    words = ["script.py"] if how == "file" else ["-m", "script"]
    done = started(*words, "--flag", folder=tmp_path)
    assert not done.returncode, done.stderr
    first, second = done.stdout.splitlines()
    assert first.endswith(("'--flag'] __main__ True",)) and "script" in first
    assert second == "found"


def test_what_a_script_raises_or_returns_comes_out(tmp_path):
    (tmp_path / "fails.py").write_text("import caffe\nraise SystemExit(7)\n")
    assert started("fails.py", folder=tmp_path).returncode == 7
    assert started(folder=tmp_path).returncode == 2


def test_a_solver_logs_to_stderr_as_caffes_does(tmp_path):
    from train_cases import make_case

    case = make_case(tmp_path)
    (tmp_path / "train.py").write_text(
        f"import caffe\nsolver = caffe.get_solver({str(case)!r})\nsolver.step(1)\n"
        "caffe.log('of the script')\n"
    )
    done = started("train.py", folder=tmp_path)
    assert not done.returncode, done.stderr
    assert "net.cpp:255] Network initialization done." in done.stderr
    assert done.stderr.splitlines()[-1].endswith("_caffe.cpp:52] of the script")


def test_another_caffe_is_left_alone(tmp_path):
    (tmp_path / "caffe.py").write_text("")
    code = "import sys; sys.path.insert(0, '.'); import caffe; import pycaffe_clr.compat"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert "'caffe' is <module" in done.stderr and "import pycaffe_clr.compat before" in done.stderr


def test_functions_for_several_processes():
    assert caffe.has_nccl() and caffe.solver_count() == 1 and caffe.solver_rank() == 0
    caffe.set_multiprocess(True)
    for call, wrong in [(caffe.set_solver_count, 0), (caffe.set_solver_rank, -1)]:
        with pytest.raises(caffe.ConfigError):
            call(wrong)
    timer = caffe.Timer()
    timer.start()
    timer.stop()
    assert 0 <= timer.ms < 1000
