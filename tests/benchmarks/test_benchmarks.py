"""The benchmarked nets are the same net on both sides, and the yardstick's schedule is Caffe's."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pycaffe_clr import prototxt
from pycaffe_clr.engine import build_net

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import bench_step  # noqa: E402
import caffe_nets  # noqa: E402

SCHEDULES = HERE.parent / "golden" / "schedules.json"


SHAPES = {name: (2, *spec["shape"][1:]) for name, spec in bench_step.NETS.items()}
DROPOUTS = (0.2, 0.4, 0.5, 0.7)
# Convolution, BatchNorm, ReLU and Eltwise layers.
COUNTS = {
    "lenet": (2, 0, 1, 0),
    "cifar3": (3, 0, 3, 0),
    "resnet56": (55, 55, 27, 26),
    "wide32": (33, 33, 16, 15),
    "densenet40": (39, 39, 39, 0),
    "resnet50": (53, 53, 49, 16),
    "alexnet": (5, 0, 7, 0),
    "googlenet": (59, 0, 61, 0),
    "lstm": (0, 0, 0, 0),
}


def build(name: str, feed: str, folder: Path, changes: Mapping[str, str] | None = None) -> Any:
    """The core train net of a benchmarked net of two samples. changes: of its text."""
    path = caffe_nets.write_solver(folder, name, SHAPES[name], feed, 0.001, 0.9, 1e-4)
    prototxt.read_solver(path)
    text = (folder / "net.prototxt").read_text()
    for old, new in (changes or {}).items():
        text = text.replace(old, new)
    net = prototxt.parse_net(text)
    return build_net(net, phase=0, fuse=True, keep=["data", "label"])[0]


@pytest.mark.parametrize("name", sorted(caffe_nets.NETS))
def test_benchmarked_nets_have_their_layers(name: str, tmp_path: Path) -> None:
    caffe_nets.write_solver(tmp_path, name, SHAPES[name], "dummy", 0.001, 0.9, 1e-4)
    net = prototxt.read_net(tmp_path / "net.prototxt")
    types = Counter(spec["type"] for spec in prototxt.layer_specs(net, 0))
    found = tuple(types[kind] for kind in ("Convolution", "BatchNorm", "ReLU", "Eltwise"))
    assert found == COUNTS[name]
    assert types["Scale"] == types["BatchNorm"] and types["Accuracy"] == types["Data"] == 0
    assert (types["DummyData"], types["SoftmaxWithLoss"]) == (1, 3 if name == "googlenet" else 1)
    tested = Counter(spec["type"] for spec in prototxt.layer_specs(net, 1))
    assert tested["SoftmaxWithLoss"] == 1


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", ["lenet", "cifar3", "resnet50"])
def test_pictures_come_from_a_database(name: str, tmp_path: Path) -> None:
    net = build(name, "data", tmp_path)
    assert tuple(net.shape("data")) == SHAPES[name] and net.fallbacks() == []
    if name != "resnet50":
        assert np.isfinite(net.forward())


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("pass_", ["step", "forward"])
def test_a_worker_times_the_passes_it_is_told(
    pass_: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = "--only-project --nets lenet --batch 3 --warmup 1 --steps 2 --rounds 1 --threads 1"
    assert bench_step.main([*flags.split(), "--pass", pass_]) == 0
    said = capsys.readouterr().out
    assert f"lenet, {pass_}, batch 3x1x28x28, 1 threads" in said
    assert re.search(r"project, feed data +median +\d+\.\d ms", said)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", sorted(caffe_nets.NETS))
def test_torch_nets_are_the_same_nets(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one order, shapes and, with the same weights and pictures, loss."""
    torch = pytest.importorskip("torch")
    import torch_nets

    def tensor(array: np.ndarray) -> Any:
        data = bytearray(np.ascontiguousarray(array, np.float32).tobytes())
        return torch.frombuffer(data, dtype=torch.float32).reshape(array.shape).clone()

    monkeypatch.setattr(torch_nets.F, "dropout", lambda x, *_: x)
    # A constant is filled once, and what is written there stays.
    changes = {'"uniform"': '"constant"', **{f"_ratio: {r}": "_ratio: 0" for r in DROPOUTS}}
    net = build(name, "dummy", tmp_path, changes)
    ours = [i for i in net.learnable() if not net.params()[i]["statistic"]]
    peer = torch_nets.NETS[name]()
    random = np.random.default_rng(0)
    for index in ours:
        values = net.param_data(index)
        if values.ndim > 1:
            values[...] = random.normal(0, (2 / values[0].size) ** 0.5, values.shape)
    values = [tensor(net.param_data(index)) for index in ours]
    with torch.no_grad():
        if name == "lstm":
            peer.take(values)
        else:
            theirs = list(peer.parameters())
            assert [v.shape for v in values] == [p.shape for p in theirs]
            for parameter, value in zip(theirs, values, strict=True):
                parameter.copy_(value)
        pictures = random.random(SHAPES[name], np.float32)
        net.data("data")[...] = pictures
        labels = torch.zeros(net.shape("label"), dtype=torch.long).flatten()
        expected = torch_nets.loss(peer, tensor(pictures), labels)
    assert net.forward() == pytest.approx(float(expected), rel=1e-4)


def test_peer_schedule_is_caffes() -> None:
    pytest.importorskip("torch")
    if not SCHEDULES.exists():
        pytest.skip("no golden schedules here")
    import lenet_peer

    for case in json.loads(SCHEDULES.read_text()):
        text = case["solver"]
        if 'lr_policy: "1cycle"' not in text:
            continue
        base, top, step, start = (
            float(re.search(rf"(?<!_)\b{key}: ([\d.e-]+)", text)[1])  # type: ignore[index]
            for key in ("base_lr", "max_lr", "stepsize", "momentum")
        )
        mine = [lenet_peer.one_cycle(i, base, top, int(step)) for i in case["iter"]]
        assert np.array_equal(np.float32(mine), np.float32(case["lr"]))
        cycle = re.findall(r"cyclical_momentum: ([\d.e-]+)", text)
        if cycle:
            end, half = map(float, cycle)
            mine = [lenet_peer.cyclical_momentum(i, start, end, half) for i in case["iter"]]
            np.testing.assert_allclose(mine, case["momentum"], atol=1e-6)
