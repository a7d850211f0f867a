"""What solver_mode, --gpu and --device mean, and the tables of a step on a GPU."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from pycaffe_clr import cli, devices
from pycaffe_clr.cli.step_table import count_tests, measured_lines, run_line, step_lines
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.prototxt import parse_solver
from pycaffe_clr.train.passes import OpTime
from pycaffe_clr.train.step_model import GPUS, OpWork, gpu_named, step_time

NET = """
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 4 dim: 1 dim: 9 dim: 9 } shape { dim: 4 }
  data_filler { type: "uniform" } data_filler { type: "constant" } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 8 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""

CHOOSING = """
layer { name: "data" type: "DummyData" top: "data" top: "chosen" dummy_data_param {
  shape { dim: 4 dim: 3 } shape { dim: 4 } data_filler { type: "constant" value: 1 } } }
layer { name: "filter" type: "Filter" bottom: "data" bottom: "chosen" top: "some" }
layer { name: "boxes" type: "DummyData" top: "found" top: "truths" dummy_data_param {
  shape { dim: 1 dim: 1 dim: 3 dim: 7 } shape { dim: 1 dim: 1 dim: 2 dim: 8 } } }
layer { name: "judge" type: "DetectionEvaluate" bottom: "found" bottom: "truths" top: "judged"
  detection_evaluate_param { num_classes: 2 } }
"""


def test_gpu_numbers():
    assert devices.gpu_numbers("0", 2) == [0]
    assert devices.gpu_numbers("1, 0", 2) == [1, 0]
    assert devices.gpu_numbers("all", 3) == [0, 1, 2]
    assert devices.gpu_numbers("5", 0) == [5]  # nothing is there that it could be
    for text, words in [("0,0", "twice"), ("x", "numbers"), ("", "numbers"), ("2", "are 2 GPUs")]:
        with pytest.raises(ConfigError, match=words):
            devices.gpu_numbers(text, 2)


def test_the_name_of_a_gpu(monkeypatch):
    monkeypatch.setattr(devices, "gpus", lambda: (["NVIDIA A", "NVIDIA B"], ""))
    names = [devices.gpu_name(device) for device in ("cuda", "cuda:1", "cuda:2", "cpu")]
    assert names == ["NVIDIA A", "NVIDIA B", None, None]


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(devices, "gpus", lambda: (["NVIDIA A", "NVIDIA B"], ""))
    monkeypatch.setattr(devices, "backend_of", lambda device: device)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(devices, "gpus", lambda: ([], "no driver"))


def solver(text: str = ""):
    return parse_solver(f'net: "n" base_lr: 1 lr_policy: "fixed" {text}')


def test_device_query_names_the_gpus(two_gpus, capfd):
    assert cli.main(["device_query"]) == 0
    assert re.findall(r"Device id: +(\d+)", capfd.readouterr().out) == ["0", "1"]
    assert cli.main(["device_query", "-gpu", "1"]) == 0
    assert re.findall(r"Name: +(NVIDIA .*)", capfd.readouterr().out) == ["NVIDIA B"]
    assert cli.main(["device_query", "--gpu", "2"]) == 1


def test_device_query_without_a_gpu(no_gpu, capfd):
    assert cli.main(["device_query"]) == 1
    assert "no driver" in capfd.readouterr().err


def test_a_solver_trains_on_the_gpu_it_names(two_gpus):
    assert devices.of_solver(solver()) == ("cuda:0", 1, "GPU 0: NVIDIA A")
    assert devices.of_solver(solver("device_id: 1")) == ("cuda:1", 1, "GPU 1: NVIDIA B")
    assert devices.of_solver(solver("solver_mode: CPU")) == ("cpu", 0, "Use CPU.")
    with pytest.raises(ConfigError, match="device_id: 2"):
        devices.of_solver(solver("device_id: 2"))


def test_without_a_gpu_the_cpu_trains_and_one_line_says_so(no_gpu):
    assert devices.of_solver(solver()) == ("cpu", 0, "solver_mode is GPU: no driver. Use CPU.")
    assert devices.of_gpu_flag("0") == ("cpu", 1, "--gpu 0: no driver. Use CPU.")
    assert devices.of_gpu_flag("all").gpus == 1
    two = devices.of_gpu_flag("0,1")
    assert two == ("cpu", 2, "--gpu 0,1: no driver. Use CPU, with 2 replicas.")


def test_without_a_driver_its_backend_is_not_loaded():
    text = (
        "from pycaffe_clr import devices; from pycaffe_clr.engine import ready_core; "
        "print(devices.gpus()[0], ready_core().backends(), open('/proc/self/maps').read())"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    if "libcuda.so" in done.stdout:
        pytest.skip("there is a driver")
    assert done.stdout.startswith("[] ['reference', 'cpu'")
    assert "libpycaffe_clr.so" in done.stdout and "libpycaffe_clr_cuda" not in done.stdout


def test_the_gpu_flag_chooses_devices(two_gpus):
    assert devices.of_gpu_flag("1") == ("cuda:1", 1, "GPU 1: NVIDIA B")
    assert devices.of_gpu_flag("all").gpus == 2


def test_device_and_gpu_exclude_each_other(tmp_path, capfd):
    (tmp_path / "net.prototxt").write_text(NET)
    flags = ["time", f"--model={tmp_path}/net.prototxt", "--gpu=0", "--device=cpu"]
    assert cli.main(flags) == 1
    assert "--device and --gpu exclude each other" in capfd.readouterr().err


OPS = [
    OpWork("conv", "conv1", "cuda: tensor", 3, 3_350_000_000, 0, "tf32"),
    OpWork("gemm", "ip", "cuda: plain", 2, 0, 67_000_000_000, "fp32"),
]


def test_the_model_of_a_step():
    h100, h200 = GPUS
    assert (gpu_named("NVIDIA H100 80GB HBM3"), gpu_named("NVIDIA H200")) == (h100, h200)
    assert gpu_named("host") is None
    time = step_time(OPS, h100)
    assert time.traffic == pytest.approx(1e-3) and time.arithmetic == pytest.approx(1e-3)
    assert time.floor == pytest.approx(2e-3)  # one after the other
    assert time.launches == pytest.approx(10e-6)
    assert time.predicted > time.floor + time.launches
    assert step_time(OPS, h200).traffic == pytest.approx(3.35 / 4.8 * 1e-3)


def test_tables_of_a_step():
    text = "\n".join(step_lines(OPS, 512, 80))
    assert re.search(r"^conv +conv1 +3 +3350.0 +0.00 +1117$", text, re.M)
    assert re.search(r"^gemm +1 cuda: plain +2 +0.0 +67.00 +1671$", text, re.M)
    assert "a step: 5 launches, 3.35 GB, 67.0 GFLOP" in text
    assert re.search(r"^H200 +0.698 +1.000 +0.010 +1.698 +\d\.\d+ +[\d,]+$", text, re.M)
    times = [OpTime("conv1", "conv", 1.0, 3.0), OpTime("ip", "gemm", 1.0, 0.0)]
    lines = measured_lines(OPS, times, GPUS[0])
    assert re.search(r"^conv +conv1 +3 +1000.0 +3000.0 +838 +1000.0 +1117.1$", lines[1])
    assert re.search(r"^gemm +ip +2 +1000.0 +0.0 +0 +67.00 +1000.0 +1670.7$", lines[2])
    both = measured_lines([OPS[0]] * 2, [times[0]] * 2, GPUS[0])
    assert re.search(r"^conv +2 cuda: tensor +6 +2000.0 +6000.0 +838 +2000.0 +2234.2$", both[5])
    assert "2.50 times the floor" in lines[-1]
    assert "floor" not in measured_lines(OPS, times, None)[-1]


def test_the_time_of_a_run():
    every_ten = solver('max_iter: 100 test_net: "t" test_iter: 5 test_interval: 10')
    assert count_tests(every_ten) == 11  # before 0, 10, .. 90, and at the end
    odd = solver('max_iter: 95 test_net: "t" test_iter: 5 test_interval: 10')
    odd.test_initialization = False
    assert count_tests(odd) == 9
    assert count_tests(solver("max_iter: 100")) == 0
    text = run_line(OPS, [OPS], every_ten)
    # 100 steps, and 55 batches without their launches.
    assert text == (
        "a run, 100 iterations and 55 batches of tests: H100 0.4 s, 0.2 of them tests; "
        "H200 0.4 s, 0.1 of them tests"
    )


@pytest.mark.usefixtures("one_thread")
def test_show_and_time_on_the_cuda_backend(tmp_path, capfd, request):
    if not request.config.getoption("--cuda-host"):
        pytest.skip("needs --cuda-host")
    model = tmp_path / "net.prototxt"
    model.write_text(NET)
    assert cli.main(["show", str(model), "--device", "cuda"]) == 0
    shown = capfd.readouterr().out
    rows = dict(
        re.findall(r"^(conv|relu|gemm|update) .* (\d+) +\d+\.\d +\d+\.\d\d +\d+$", shown, re.M)
    )
    assert set(rows) == {"conv", "relu", "gemm", "update"}
    assert all(int(launches) > 0 for launches in rows.values())
    assert re.search(r"^H100 .* [\d,]+$", shown, re.M)
    assert "ops on the host: 0" in shown
    choosing = tmp_path / "choosing.prototxt"
    choosing.write_text(CHOOSING)
    assert cli.main(["show", str(choosing), "--device", "cuda"]) == 0
    assert "ops on the host by design: 2 (evaluation, filter)" in capfd.readouterr().out

    assert cli.main(["time", f"--model={model}", "--device=cuda", "--iterations=2"]) == 0
    said = capfd.readouterr().err
    assert "By the clock of cuda:" in said
    measured = re.search(r"^conv +conv +(\d+) +(\d+\.\d) +(\d+\.\d) ", said, re.M)
    assert measured and measured[1] == rows["conv"]
    assert float(measured[2]) > 0 and float(measured[3]) > 0
