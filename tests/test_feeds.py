"""Records that a program feeds: named fields of any shape and type, to the tops of a Data layer."""

from __future__ import annotations

import queue
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_data import BACKENDS, need

import pycaffe_clr as caffe
from pycaffe_clr.engine import build_net, ready_core
from pycaffe_clr.errors import ConfigError, DataError
from pycaffe_clr.prototxt import parse_net

pytestmark = pytest.mark.usefixtures("one_thread")

COUNT, BATCH = 10, 4
NET = f"""
layer {{ name: "data" type: "Data" top: "targets" top: "mask" top: "class"
  data_param {{ batch_size: {BATCH} }} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "mask" top: "ip"
  inner_product_param {{ num_output: 5 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "class" top: "loss" }}
layer {{ name: "fit" type: "Eltwise" bottom: "targets" bottom: "ip" top: "fit"
  loss_weight: 0.01 }}
"""


def records() -> dict[str, np.ndarray]:
    random = np.random.default_rng(7)
    return {
        "class": random.integers(0, 5, COUNT),
        "mask": random.integers(0, 256, (COUNT, 2, 3, 3), np.uint8),
        "targets": random.normal(size=(COUNT, 5)),
        "unused": np.arange(COUNT, dtype=np.int16),
    }


class Stream:
    """The same, a batch at a time, from a thread that is late."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self._arrays = arrays
        self.fields = {name: array.shape[1:] for name, array in arrays.items()}
        self.position = 0
        self._asked: queue.Queue[int | None] = queue.Queue()
        self._made: queue.Queue[dict[str, np.ndarray]] = queue.Queue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while (count := self._asked.get()) is not None:
            threading.Event().wait(0.02)
            numbers = (self.position + np.arange(count)) % COUNT
            self._made.put({name: array[numbers] for name, array in self._arrays.items()})

    def next(self, count: int) -> dict[str, np.ndarray]:
        self._asked.put(count)
        batch = self._made.get(timeout=60)
        self.position = (self.position + count) % COUNT
        return batch

    def seek(self, position: int) -> None:
        self.position = position % COUNT

    def close(self) -> None:
        self._asked.put(None)
        self._thread.join()


def make(feed: Any, **settings: Any) -> Any:
    net, feeds = build_net(parse_net(NET), phase=0, feeds={"data": feed}, seed=3, **settings)
    return net, feeds["data"]


def check_pass(net: Any, first: int, replicas: int = 1) -> None:
    """What the tops hold is what the records hold from `first` on, each replica's behind the
    other."""
    numbers = np.arange(first, first + BATCH * replicas) % COUNT
    numbers = numbers.reshape(BATCH, replicas).T.ravel()
    for name in ("class", "mask", "targets"):
        expected = records()[name][numbers].astype(np.float32)
        np.testing.assert_array_equal(net.data(name), expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("late", [False, True])
def test_three_tops_of_other_shapes_and_types(backend, replicas, late):
    need(backend)
    source = Stream(records()) if late else records()
    net, feed = make(source, device=backend, replicas=replicas)
    assert not net.fallbacks()
    assert feed.fields == {"class": [], "mask": [2, 3, 3], "targets": [5], "unused": []}
    assert net.shape("mask") == [BATCH * replicas, 2, 3, 3]
    for step in range(3):
        net.forward()
        check_pass(net, step * BATCH * replicas, replicas)
    assert feed.position == 3 * BATCH * replicas % COUNT
    feed.position = 1
    net.forward()
    check_pass(net, 1, replicas)
    if isinstance(source, Stream):
        source.close()


@pytest.mark.parametrize("fuse", [False, True])
def test_a_net_trains_alike_on_arrays_and_on_a_late_stream(fuse):
    stream = Stream(records())
    weights = []
    for source in (records(), stream):
        net, _ = make(source, fuse=fuse, replicas=2)
        solver = ready_core().Solver(net, {"lr_policy": "fixed", "base_lr": 0.001, "momentum": 0.9})
        losses, _, _ = solver.run(6)
        assert np.isfinite(losses).all()
        weights.append(np.array(net.param_data(0)))
    np.testing.assert_array_equal(*weights)
    stream.close()


def test_a_caffe_net_is_fed_and_goes_on_with_other_arrays(tmp_path: Path):
    file = tmp_path / "net.prototxt"
    file.write_text(NET)
    net = caffe.Net(file, caffe.TRAIN, feeds={"data": records()})
    net.forward()
    check_pass(net._core, 0)
    other = {name: array[::-1].copy() for name, array in records().items()}
    net._feeds["data"].replace(other)
    net.forward()
    np.testing.assert_array_equal(net.blobs["class"].data, other["class"][:BATCH])
    with pytest.raises(DataError, match="field 'mask': records must be 2x3x3, not 3x3"):
        net._feeds["data"].replace(other | {"mask": other["mask"][:, 0]})
    with pytest.raises(DataError, match="came without the field 'unused'"):
        net._feeds["data"].replace({n: a for n, a in other.items() if n != "unused"})
    net.forward()
    np.testing.assert_array_equal(net.blobs["class"].data, other["class"][BATCH : 2 * BATCH])


def test_arrays_that_are_replaced_meanwhile_do_not_concern_the_pass_that_runs():
    """A layer puts others in their place between two readings of a pass."""
    with_layer = NET.replace('bottom: "mask"', 'bottom: "same"') + (
        'layer { name: "put" type: "Python" bottom: "mask" top: "same"\n'
        f'  python_param {{ module: "{__name__}" layer: "Replaces" }} }}\n'
    )
    param = parse_net(with_layer)
    param.layer.insert(1, param.layer.pop())
    net, feeds = build_net(param, phase=0, feeds={"data": records()}, seed=3)
    Replaces.feed = feeds["data"]
    for _ in range(3):
        net.forward()
        check_pass(net, 0)


class Replaces(caffe.Layer):
    feed: Any = None

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        for _ in range(3):
            self.feed.replace(records())
        top[0].data[...] = bottom[0].data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class": np.arange(3)}, "has 3 records, others 10|records, others 3"),
        ({"class": np.full(COUNT, 2**31)}, "must fit into 32 bits, not be 2147483648"),
        ({"class": np.array(["a"] * COUNT)}, "field 'class': expected numbers, got <U1"),
        ({"class": np.zeros(COUNT, complex)}, "expected numbers, got complex128"),
        ({"class": np.float32(3)}, "field 'class': expected one value for each record"),
        ({"class": np.zeros(0), "mask": np.zeros((0, 1))}, "there are no records"),
        ({f"more{i}": np.zeros(COUNT) for i in range(17)}, "records of 21 fields"),
    ],
)
def test_unfit_arrays_are_told(change, message):
    with pytest.raises(DataError, match=message):
        make(records() | change)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (NET.replace('"mask"', '"masks"'), "no field for top 'masks'; its records have"),
        (NET.replace("data_param", "transform_param { mirror: true } data_param"), "as they are"),
        (NET.replace('name: "data"', 'name: "other"'), "no layer 'data' to feed"),
    ],
)
def test_what_does_not_fit_the_net_is_told(text, message):
    with pytest.raises(ConfigError, match=message):
        build_net(parse_net(text), phase=0, feeds={"data": records()})


def test_other_layers_are_not_fed():
    with pytest.raises(ConfigError, match="only Data layers are fed, this is of type InnerProduct"):
        build_net(parse_net(NET), phase=0, feeds={"data": records(), "ip": records()})


class Wrong(Stream):
    """Gives what it did not promise."""

    change: dict[str, Any] = {}

    def next(self, count: int) -> dict[str, np.ndarray]:
        return super().next(count) | self.change


def test_a_stream_that_breaks_its_word_is_told():
    stream = Wrong(records())
    net, _ = make(stream)
    net.forward()
    for change, message in (
        ({"mask": np.zeros((BATCH, 2, 3, 4), np.uint8)}, "records must be 2x3x3, not 2x3x4"),
        ({"mask": np.zeros((3, 2, 3, 3), np.uint8)}, "records, others"),
        ({"mask": "text"}, "field 'mask': "),
    ):
        stream.change = change
        with pytest.raises(DataError, match=message):
            net.forward()
    stream.change = {}
    net.forward()
    stream.close()
