"""Threads are the process's, a net keeps its number; the cap on instruction sets holds for all."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from golden_data import BACKENDS, need

import pycaffe_clr as caffe
from pycaffe_clr.engine import build_net, ready_core
from pycaffe_clr.errors import EngineError
from pycaffe_clr.prototxt import parse_net

NET = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 12 dim: 16 dim: 13 dim: 9 } } }
layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 12 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 16 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layer { name: "ip" type: "InnerProduct" bottom: "pool" top: "ip"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = ready_core().threads()
    yield
    ready_core().set_threads(before)


def in_a_thread(work: Callable[[], Any]) -> Any:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


def make(backend: str) -> Any:
    net, _ = build_net(parse_net(NET), phase=0, device=backend, seed=3)
    random = np.random.default_rng(4)
    net.data("data")[...] = random.normal(size=(12, 16, 13, 9))
    net.data("label")[...] = random.integers(0, 5, 12)
    return net


def gradients(net: Any) -> list[np.ndarray]:
    net.clear_param_diffs()
    net.forward()
    net.backward()
    return [np.array(net.param_diff(index)) for index in net.learnable()]


def test_the_number_holds_in_every_thread():
    core = ready_core()
    core.set_threads(3)
    assert in_a_thread(core.threads) == 3
    in_a_thread(lambda: core.set_threads(1))
    assert core.threads() == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_net_gives_the_same_bits_in_every_thread(backend):
    need(backend)
    core = ready_core()
    core.set_threads(2)
    here = gradients(make(backend))
    net = make(backend)
    core.set_threads(1)
    there = in_a_thread(lambda: gradients(net))
    core.set_threads(2)
    made_there = in_a_thread(lambda: gradients(make(backend)))
    for ours, others, third in zip(here, there, made_there, strict=True):
        np.testing.assert_array_equal(ours, others)
        np.testing.assert_array_equal(ours, third)


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_nets_run_in_two_threads_at_once(backend):
    need(backend)
    ready_core().set_threads(1)
    expected = gradients(make(backend))
    nets = [make(backend) for _ in range(2)]
    results: list[list[list[np.ndarray]]] = [[], []]

    def work(place: int) -> None:
        start.wait()
        results[place] = [gradients(nets[place]) for _ in range(20)]

    start = threading.Barrier(2)
    threads = [threading.Thread(target=work, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        assert len(result) == 20
        for arrays in result:
            for got, array in zip(arrays, expected, strict=True):
                np.testing.assert_array_equal(got, array)


class Waits(caffe.Layer):
    """Its forward pass lasts until it is told to go on."""

    inside, go_on = threading.Event(), threading.Event()

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data
        self.inside.set()
        assert self.go_on.wait(60)

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = top[0].diff


WAITS = f"""
layer {{ name: "waits" type: "Python" bottom: "data" top: "late"
  python_param {{ module: "{__name__}" layer: "Waits" }} }}
"""


def test_a_net_that_runs_in_one_thread_is_refused_to_others():
    text = parse_net(NET.replace('bottom: "data"', 'bottom: "late"') + WAITS)
    # The layers stand in the order in which they are named: the new one comes before its reader.
    text.layer.insert(2, text.layer.pop())
    net, _ = build_net(text, phase=0, seed=3)
    test_net, _ = build_net(text, phase=1, seed=3, share=net)
    solver = ready_core().Solver(net, {"lr_policy": "fixed", "base_lr": 0.0})
    other = make("cpu")
    held = net.param_data(0)
    Waits.go_on.set()
    loss, other_loss = net.forward(), other.forward()
    for run in (net.forward, test_net.forward, lambda: solver.run(2)):
        Waits.inside.clear()
        Waits.go_on.clear()
        failures: list[BaseException] = []
        thread = threading.Thread(target=caught, args=(run, failures))
        thread.start()
        assert Waits.inside.wait(60)
        for used in (net, test_net):
            for call in (
                used.forward,
                used.backward,
                used.clear_param_diffs,
                used.time,
                lambda used=used: used.test(1),
                lambda used=used: used.reshape({"data": [2, 16, 13, 9], "label": [2]}),
                lambda used=used: used.data("ip"),
                lambda used=used: used.diff("ip"),
                lambda used=used: used.read("loss"),
                lambda used=used: used.param_data(0),
                lambda: solver.run(1),
                solver.apply_update,
                lambda: build_net(text, phase=1, share=net),
            ):
                with pytest.raises(EngineError, match="this net is running in another thread"):
                    call()
        # What was handed out before can be looked at, and another net be run.
        assert np.isfinite(held).all() and other.forward() == other_loss
        Waits.go_on.set()
        thread.join()
        assert not failures
    assert net.forward() == loss


def caught(work: Callable[[], Any], failures: list[BaseException]) -> None:
    try:
        work()
    except BaseException as error:
        failures.append(error)


class RunsItsNet(Waits):
    """Looks at the net in which it stands, and tries to run it."""

    net: Any = None

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data
        if self.net is not None:
            assert self.net.data("data").shape == (12, 16, 13, 9)
            for call in (self.net.forward, lambda: self.net.reshape({"data": [2, 16, 13, 9]})):
                with pytest.raises(EngineError, match="in the middle of a pass"):
                    call()
            self.net.forward()


def test_what_a_pass_calls_back_cannot_begin_another():
    text = parse_net(NET + WAITS.replace("Waits", "RunsItsNet"))
    net, _ = build_net(text, phase=0, seed=3)
    loss = net.forward()
    try:
        RunsItsNet.net = net
        with pytest.raises(EngineError, match="in the middle of a pass"):
            net.forward()
    finally:
        RunsItsNet.net = None
    assert net.forward() == loss


@pytest.mark.parametrize("device", ["kernels", "onednn"])
@pytest.mark.parametrize("name", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
@pytest.mark.parametrize(
    ("cap", "refused"), [("SSE41", ("avx2", "avx512")), ("AVX2", ("avx512",)), ("AVX", ("avx2",))]
)
def test_the_cap_on_instruction_sets_holds_for_all_kernels(name, cap, refused, device):
    need(device)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_engine_threads import make\n"
        "print(*(row['implementation'] for row in make(sys.argv[2]).plan()), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, os.path.dirname(__file__), device],
        env=os.environ | {name: cap},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    used = done.stdout.split("\n")
    assert any(kernel.startswith(("winograd", "kernel")) for kernel in used)
    assert not [kernel for kernel in used if any(isa in kernel for isa in refused)]
