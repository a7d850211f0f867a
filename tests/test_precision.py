"""What --precision does. On the CUDA backend by test_cuda_host.py, in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from train_cases import make_case, results

import pycaffe_clr as caffe
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.train import evaluate, summary
from pycaffe_clr.train.recorder import Recorder
from pycaffe_clr.train.run import run

on_cuda = pytest.mark.skipif(
    "not config.getoption('--cuda-host')", reason="test_cuda_host.py runs it"
)
PRECISIONS = ["fp32", "tf32", "bf16"]


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(summary, "draw", lambda folder, record: False)
    return str(make_case(tmp_path))


def record_of(folder: str) -> dict:
    return json.loads((Path(folder) / "run.json").read_text())


def stopped(monkeypatch: pytest.MonkeyPatch, case: str, **settings: object) -> None:
    """Leave in `out` a run that was stopped after its first iteration."""
    rows = Recorder.rows

    def stopping(self, made):
        rows(self, made)
        self.session.stop()

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "rows", stopping)
        assert run(case, out="out", **settings).state == "stopped"
    assert record_of("out")["iteration"] == 1


def test_a_cpu_multiplies_in_fp32(case: str) -> None:
    with pytest.raises(ConfigError, match='precision "fp16" is unknown; known: fp32, tf32, bf16'):
        run(case, precision="fp16")
    with pytest.raises(ConfigError, match="precision tf32 is for device cuda; backend reference"):
        run(case, device="reference", precision="tf32", out="out")
    assert not Path("out/run.json").exists()
    run(case, device="reference", precision="fp32", out="out", max_iter=1, whole_test=False)
    assert record_of("out")["precision"] == "fp32"


@on_cuda
def test_each_precision_trains(case: str) -> None:
    losses = []
    for precision in PRECISIONS:
        found = run(case, precision=precision, out=precision, max_iter=40, whole_test=False)
        assert record_of(precision)["precision"] == precision
        losses.append(found.metrics["loss"])
        assert losses[-1][-10:].mean() < losses[-1][:10].mean() * 0.9
    # Rounding shows, and is small.
    for other in losses[1:]:
        assert 0 < np.abs(other[:10] - losses[0][:10]).max() < 0.02
    assert not np.array_equal(losses[1], losses[2])


@on_cuda
def test_pycaffes_nets_take_a_precision(case: str) -> None:
    losses = []
    for precision in [None, *PRECISIONS]:
        solver = caffe.get_solver(case, precision=precision)
        solver.step(2)
        losses.append(float(solver.net.blobs["loss"].data))
    # The simulated device is in fp32 unless told otherwise.
    assert losses[0] == losses[1] and len(set(losses)) == 3
    outputs = [
        float(caffe.Net("net.prototxt", caffe.TEST, precision=each, seed=1).forward()["loss"])
        for each in PRECISIONS
    ]
    assert len(set(outputs)) == 3


@on_cuda
def test_a_resume_keeps_the_precision(
    case: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"max_iter": 8, "whole_test": False, "precision": "bf16"}
    run(case, out="whole", **settings)
    stopped(monkeypatch, case, **settings)
    run(out="out", resume=True)
    whole, resumed = results(Path("whole")), results(Path("out"))
    assert resumed.pop("tiny_iter_1.caffemodel")  # of the stop
    assert resumed == whole
    assert "bit for bit" not in caplog.text


@on_cuda
def test_other_kernels_on_resume_are_warned_of(
    case: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stopped(monkeypatch, case, max_iter=3, whole_test=False, precision="tf32")
    monkeypatch.setenv("PYCAFFE_CLR_CONVOLUTION", "plain")
    run(out="out", resume=True)
    assert "kernels were" in caplog.text


@on_cuda
def test_what_is_measured_is_remembered(
    case: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PYCAFFE_CLR_CONVOLUTION", "measured")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # 3x3 kernels on images with their channels last go one way only.
    five = {"layer.conv.convolution_param.kernel_size": "5"}
    file = tmp_path / "pycaffe_clr" / "cuda_choices"
    said = []
    for name in ("a", "b"):
        run(case, out=name, max_iter=5, precision="tf32", net_sets=five)
        said.append(file.read_text())
    assert said[0] == said[1]
    assert results(Path("a")) == results(Path("b"))
    # Forward in TRAIN and in TEST, there for one batch and for several at once, and the gradient of
    # the weights.
    steps = [line.split("tf32 ")[1].split(" plain")[0] for line in said[0].splitlines()[1:]]
    assert {"forward float32 6x2x8x8", "forward float32 4x2x8x8"} < set(steps)
    assert [step for step in steps if "weights" in step] == ["weights float32 6x2x8x8"]
    assert not any("data" in step for step in steps)
    assert "cuda_choices" not in caplog.text


@on_cuda
def test_another_precision_on_resume_is_warned_of(
    case: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stopped(monkeypatch, case, max_iter=4, whole_test=False, precision="bf16")
    run(out="out", resume=True, precision="fp32")
    assert "precision was bf16 and is fp32" in caplog.text
    assert record_of("out")["precision"] == "fp32"
    weights = next(Path("out").glob("*.caffemodel"))
    outputs = [evaluate.evaluate("net.prototxt", weights, precision=each) for each in PRECISIONS]
    assert outputs[0]["loss"] != outputs[2]["loss"]
