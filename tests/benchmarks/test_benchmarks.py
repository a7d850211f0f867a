"""The benchmarked nets are the same net on both sides, and the yardstick's schedule is Caffe's."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import caffe_nets  # noqa: E402

SCHEDULES = HERE.parent / "golden" / "schedules.json"


@pytest.mark.parametrize("name", sorted(caffe_nets.NETS))
@pytest.mark.parametrize("feed", ["dummy", "data"])
def test_benchmark_nets_parse(name: str, feed: str, tmp_path: Path) -> None:
    prototxt = pytest.importorskip("pycaffe_clr.prototxt")
    shape = {"lenet": (4, 1, 28, 28), "resnet56": (4, 3, 32, 32)}[name]
    solver = caffe_nets.write_solver(tmp_path, name, shape, feed, 0.001, 0.9, 1e-4)
    prototxt.read_solver(solver)
    net = prototxt.read_net(tmp_path / "net.prototxt")
    types = Counter(spec["type"] for spec in prototxt.layer_specs(net, "TRAIN"))
    if name == "resnet56":
        assert types["Convolution"] == 55
        assert types["BatchNorm"] == types["Scale"] == 55
        assert (types["ReLU"], types["Eltwise"]) == (27, 26)
    else:
        assert (types["Convolution"], types["InnerProduct"], types["ReLU"]) == (2, 2, 1)


@pytest.mark.parametrize("name", sorted(caffe_nets.NETS))
def test_torch_nets_have_the_same_weights(name: str) -> None:
    pytest.importorskip("torch")
    import torch_nets

    net = torch_nets.NETS[name]()
    weights = [tuple(p.shape) for p in net.parameters() if p.ndim > 1]
    outputs = [int(n) for n in re.findall(r"num_output: (\d+)", caffe_nets.NETS[name]())]
    assert sorted(shape[0] for shape in weights) == sorted(outputs)


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
