"""debug_info: the numbers it prints are those that numpy finds in the same net."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from golden_data import BACKENDS, need

from pycaffe_clr import Net, get_solver
from pycaffe_clr.train.log import CaffeLog

# {1}, {2}, {3}: empty, so that layers work in place and fusion would swallow what is printed; or
# names of blobs of their own, which keep what the in-place net overwrites.
NET = """
name: "net"
layer {
  name: "data" type: "DummyData" top: "data" top: "label"
  dummy_data_param {
    shape { dim: 4 dim: 2 dim: 6 dim: 6 } shape { dim: 4 }
    data_filler { type: "gaussian" std: 1 } data_filler { type: "constant" value: 1 }
  }
}
layer {
  name: "conv" type: "Convolution" bottom: "data" top: "c" param {} param { lr_mult: 0 }
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "msra" } }
}
layer { name: "bn" type: "BatchNorm" bottom: "c" top: "c{1}" }
layer { name: "scale" type: "Scale" bottom: "c{1}" top: "c{2}" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "c{2}" top: "c{3}" }
layer { name: "drop" type: "Dropout" bottom: "c{3}" top: "d" }
layer { name: "sum" type: "Eltwise" bottom: "c{3}" bottom: "d" top: "e" }
layer {
  name: "ip1" type: "InnerProduct" bottom: "e" top: "f"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } }
}
layer {
  name: "ip2" type: "InnerProduct" bottom: "f" top: "g" param { name: "w" } param {}
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } }
}
layer {
  name: "ip3" type: "InnerProduct" bottom: "g" top: "h" param { name: "w" } param {}
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } }
}
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "h" bottom: "label" top: "loss" }
"""
SOLVER = """
net: "net.prototxt" debug_info: true display: 2 max_iter: 10 snapshot_after_train: false
lr_policy: "fixed" base_lr: 0.1 momentum: 0.9 weight_decay: 0.01 random_seed: 1
"""
TRAINED = ["conv", "scale", "ip1", "ip2", "ip3"]
SPLIT = "c3_relu_0_split"
FORWARD = {
    "data": ["data", "label"], "conv": ["c"], "bn": ["c1"], "scale": ["c2"], "relu": ["c3"],
    SPLIT: [f"{SPLIT}_0", f"{SPLIT}_1"], "drop": ["d"], "sum": ["e"], "ip1": ["f"], "ip2": ["g"],
    "ip3": ["h"], "loss": ["loss"],
}  # fmt: skip
# Layers with the blobs that they read and that have gradients, last first.
BACKWARD = {
    "loss": ["h"], "ip3": ["g"], "ip2": ["f"], "ip1": ["e"], "sum": [f"{SPLIT}_1", "d"],
    "drop": [f"{SPLIT}_0"], SPLIT: ["c3"], "relu": ["c2"], "scale": ["c1"], "bn": ["c"], "conv": [],
}  # fmt: skip


def mean(array: np.ndarray) -> float:
    return float(np.abs(array.astype(np.float64)).mean())


def write(folder: Path, *names: str) -> None:
    net = NET
    for number, name in zip("123", names, strict=True):
        net = net.replace(f"{{{number}}}", name)
    (folder / "net.prototxt").write_text(net)
    (folder / "solver.prototxt").write_text(SOLVER)


def printed(stream: io.StringIO) -> list[tuple[str, str, str, float]]:
    """(kind, layer, what, value) of every line with one value."""
    lines = re.findall(
        r"\]     \[(\w+)\] Layer (\S+), (.*): (\S+)$", stream.getvalue(), re.MULTILINE
    )
    return [(kind, layer, what, float(value)) for kind, layer, what, value in lines]


def label(name: str, place: int) -> str:
    return "w" if name in ("ip2", "ip3") and place == 0 else str(place)


def in_place(name: str) -> str:
    """What a blob or a layer is called in the net that works in place."""
    return re.sub(r"^c[123]\b|^c3(?=_)", "c", name)


def wanted_lines(net: Net) -> list[tuple[str, str, str, float]]:
    """What debug_info has to print of a pass that this net has made, not in place."""
    lines = []
    for layer, tops in FORWARD.items():
        lines += [("Forward", layer, f"top blob {in_place(top)} data", mean(net.blobs[top].data))
                  for top in tops]  # fmt: skip
        for place, param in enumerate(net.params.get(layer, [])):
            what = f"param blob {label(layer, place)} data"
            lines.append(("Forward", layer, what, mean(param.data)))
    for layer, bottoms in BACKWARD.items():
        for bottom in bottoms:
            what = f"bottom blob {in_place(bottom)} diff"
            lines.append(("Backward", layer, what, mean(net.blobs[bottom].diff)))
        for place, param in enumerate(net.params[layer] if layer in TRAINED else []):
            # The convolution's bias has lr_mult 0, as BatchNorm's statistics do.
            if (layer, place) != ("conv", 1):
                lines.append(("Backward", layer, f"param blob {place} diff", mean(param.diff)))
    return [(kind, in_place(layer), what, value) for kind, layer, what, value in lines]


@pytest.fixture(params=BACKENDS)
def device(request: pytest.FixtureRequest) -> str:
    need(request.param)
    return str(request.param)


def test_debug_info_prints_what_numpy_finds(tmp_path, monkeypatch, device):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "1", "2", "3")
    solver = get_solver("solver.prototxt", device=device)
    net = solver.net
    net.forward()
    net.backward()
    expected = wanted_lines(net)
    write(tmp_path, "", "", "")
    stream = io.StringIO()
    # fuse: as `run` and `train` ask for it. Iteration 1 displays nothing.
    get_solver("solver.prototxt", device=device, fuse=True, log=CaffeLog(stream)).step(2)
    lines = [line for line in printed(stream) if line[0] != "Update"]
    assert [line[:3] for line in lines] == [line[:3] for line in expected]
    for line, wanted in zip(lines, expected, strict=True):
        if line[:2] == ("Backward", "ip3") and "param blob 0" in line[2]:
            # Printed when ip2 had not yet added its share to the diff of the parameter they share.
            assert 0 < line[3] != pytest.approx(wanted[3], rel=1e-3)
        else:
            assert line[3] == pytest.approx(wanted[3], rel=1e-5), line


def test_debug_info_prints_norms_and_updates(tmp_path, monkeypatch, device):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "", "", "")
    solver = get_solver("solver.prototxt", device=device)
    net = solver.net
    net.forward()
    net.backward()
    own = {(name, label(name, place)): blob for name, blobs in net.params.items()
           for place, blob in enumerate(blobs)}  # fmt: skip
    shared = own.pop(("ip3", "w"))
    data, diff = (
        np.concatenate([getattr(blob, part).ravel() for blob in own.values()]).astype(np.float64)
        for part in ("data", "diff")
    )
    before = {key: blob.data.copy() for key, blob in own.items()}
    solver.apply_update()

    stream = io.StringIO()
    get_solver("solver.prototxt", device=device, log=CaffeLog(stream)).step(2)
    said = stream.getvalue()
    (norms,) = re.findall(
        r"^E.*\]     \[Backward\] All net params \(data, diff\): "
        r"L1 norm = \((\S+), (\S+)\); L2 norm = \((\S+), (\S+)\)$", said, re.MULTILINE
    )  # fmt: skip
    l1 = np.abs(data).sum(), np.abs(diff).sum()
    l2 = np.sqrt((data * data).sum()), np.sqrt((diff * diff).sum())
    assert [float(norm) for norm in norms] == pytest.approx([*l1, *l2], rel=1e-5)

    updates = re.findall(r"\[Update\] Layer (\S+), param (\S+) data: (\S+); diff: (\S+)$", said,
                         re.MULTILINE)  # fmt: skip
    assert [(layer, param) for layer, param, _, _ in updates] == list(own)
    for layer, param, value, change in updates:
        key = layer, param
        assert float(value) == pytest.approx(mean(before[key]), rel=1e-5), key
        if layer != "bn" and key != ("conv", "1"):
            # Data before less data after, which float32 cancels, is the update.
            update = mean(before[key].astype(np.float64) - own[key].data)
            assert float(change) == pytest.approx(update, rel=1e-3), key
    (change,) = re.findall(
        r"\[Update\] Layer ip3, param blob w \(owned by layer ip2, param w\) diff: (\S+)$", said,
        re.MULTILINE
    )  # fmt: skip
    assert float(change) == pytest.approx(mean(shared.diff), rel=1e-5)


def test_debug_info_changes_nothing_else(tmp_path, monkeypatch, device):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "", "", "")
    weights = []
    for text in (SOLVER, SOLVER.replace("debug_info: true", "")):
        Path("solver.prototxt").write_text(text + "iter_size: 2")
        solver = get_solver("solver.prototxt", device=device, log=CaffeLog(io.StringIO()))
        solver.step(5)
        weights.append(
            {name: [p.data.copy() for p in ps] for name, ps in solver.net.params.items()}
        )
    for name, params in weights[0].items():
        for with_it, without in zip(params, weights[1][name], strict=True):
            assert np.array_equal(with_it, without), name
