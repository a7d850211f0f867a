"""Single layers compute what real Caffe computed: forward, every gradient, changed parameters."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from golden_data import BACKENDS, LAYER_BOUND, distance, files, need

import pycaffe_clr as caffe
from pycaffe_clr.engine import ready_core

CASES = {path.stem: path for path in files("layers", "*.npz")}


@cache
def read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as arrays:
        return dict(arrays)


def run_case(path: Path, folder: Path, **settings) -> dict[str, float]:
    """Distance from Caffe of every array that the case records, by its name."""
    case = read(path)
    if str(case["type"]) not in ready_core().layer_types():
        pytest.skip(f"no layer of type {case['type']}")
    file = folder / "net.prototxt"
    file.write_text(str(case["net"]))
    net = caffe.Net(file, getattr(caffe, str(case["phase"])), seed=1, **settings)
    if net._core.backend.startswith("cuda"):
        # What belongs on the host runs there, and nothing else.
        assert not net._core.fallbacks()
    bottoms = [net.blobs[f"b{i}"] for i in range(int(case["n_bottoms"]))]
    # Where a layer of zeros stands in front, so that a bottom gets a gradient, what it reads.
    inputs = [net.blobs.get(f"b{i}_src", bottom) for i, bottom in enumerate(bottoms)]
    tops = [net.blobs[name] for name in net.top_names["l"]]
    params = net.params.get("l", [])
    assert len(tops) == int(case["n_tops"]) and len(params) == int(case["n_params"])
    distances = {}
    for step in range(int(case["steps"])):
        end = f"_s{step}" if step else ""
        # Before the first step only: later ones must find what forward itself has left.
        if not step:
            for i, param in enumerate(params):
                param.data[...] = case[f"param{i}"]
        for i, source in enumerate(inputs):
            source.data[...] = case[f"in{i}{end}"]
        net.forward()
        pairs = {f"out{i}{end}": top.data for i, top in enumerate(tops)}
        for i, param in enumerate(params):
            before = f"param{i}{end}"
            pairs[f"param_after{i}{end}" if f"param_after{i}{end}" in case else before] = param.data
        compare(distances, pairs, case)
        if not any(k.startswith(("botdiff", "paramdiff")) for k in case):
            continue
        net.clear_param_diffs()
        for i, top in enumerate(tops):
            if f"topdiff{i}{end}" in case:
                top.diff[...] = case[f"topdiff{i}{end}"]
        net.backward()
        pairs = {f"botdiff{i}{end}": bottom.diff for i, bottom in enumerate(bottoms)}
        pairs |= {f"paramdiff{i}{end}": param.diff for i, param in enumerate(params)}
        compare(distances, pairs, case)
    return distances


def compare(distances, pairs, case) -> None:
    for name, array in pairs.items():
        if name in case:
            distances[name] = distance(array, case[name])


def worst(distances: dict[str, float]) -> dict[str, float]:
    assert distances
    return {name: value for name, value in distances.items() if not value <= LAYER_BOUND}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_a_layer_computes_what_caffe_did(name, backend, tmp_path):
    need(backend)
    assert not worst(run_case(CASES[name], tmp_path, device=backend))


@pytest.mark.parametrize("name", CASES)
def test_in_double_precision_too(name, tmp_path):
    assert not worst(run_case(CASES[name], tmp_path, device="reference", dtype="float64"))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", [n for n in CASES if n.startswith(("bn_", "scale_", "relu"))])
def test_the_fused_plan_has_the_same_outputs(name, backend, tmp_path):
    need(backend)
    case = read(CASES[name])
    (tmp_path / "net.prototxt").write_text(str(case["net"]))
    phase = getattr(caffe, str(case["phase"]))
    net = caffe.Net(tmp_path / "net.prototxt", phase, seed=1, device=backend, fuse=True)
    for i, param in enumerate(net.params.get("l", [])):
        param.data[...] = case[f"param{i}"]
    for i in range(int(case["n_bottoms"])):
        net.blobs[f"b{i}"].data[...] = case[f"in{i}"]
    net.forward()
    assert distance(net.blobs[net.top_names["l"][0]].data, case["out0"]) <= LAYER_BOUND
