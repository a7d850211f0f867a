"""Nets like those that Caffe's model zoos hold: built, run and trained for a step.

With PYCAFFE_CLR_ZOO naming a folder of real files (.prototxt of nets and solvers, in any depth),
each of them too, over data that is made for it.
"""

from __future__ import annotations

import io
import logging
import os
import re
from pathlib import Path

import lmdb
import numpy as np
import pytest
from detector_nets import (
    BODY,
    DATA,
    DETECTIONS,
    EVALUATION,
    HEADS,
    LOSS,
    TEST_DATA,
    box_database,
    fill_detector,
    precision_by_the_formula,
)
from google.protobuf import text_format

import pycaffe_clr as caffe
from pycaffe_clr import proto
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.prototxt import load_net
from pycaffe_clr.train.log import CaffeLog

RNG = np.random.default_rng(7)

# --- a small SSD ----------------------------------------------------------------------------------


def judged_by_hand(net: caffe.Net, passes: int) -> float:
    """Mean average precision (11point) of what a test net finds, by overlaps of 0.4."""
    found: dict[int, list[tuple[float, bool]]] = {1: [], 2: []}
    count = {1: 0, 2: 0}
    for _ in range(passes):
        net.forward()
        truths = net.blobs["label"].data[0, 0]
        for truth in truths:
            count[int(truth[1])] += 1
        taken = set()
        for row in sorted(net.blobs["found"].data[0, 0], key=lambda row: -row[2]):
            same = np.flatnonzero((truths[:, :2] == row[:2]).all(1))
            if row[1] < 0:
                continue
            low = np.maximum(row[3:5], truths[same, 3:5])
            high = np.minimum(row[5:], truths[same, 5:7])
            shared = np.maximum(high - low, 0).prod(1)
            area = (row[5:] - row[3:5]).prod() + (truths[same, 5:7] - truths[same, 3:5]).prod(1)
            overlap = shared / (area - shared)
            right = len(same) > 0 and overlap.max() >= 0.4
            best = same[overlap.argmax()] if right else None
            found[int(row[1])].append((float(row[2]), right and best not in taken))
            taken.add(best)
    return np.mean([
        precision_by_the_formula(*zip(*rows, strict=True), count[label], "11point") if rows else 0
        for label, rows in found.items()
    ])  # fmt: skip


def test_a_small_ssd_learns_to_find_squares(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    box_database(tmp_path / "boxes", 64, 32)
    (tmp_path / "train.prototxt").write_text(DATA + BODY + HEADS + LOSS)
    (tmp_path / "test.prototxt").write_text(TEST_DATA + BODY + HEADS + DETECTIONS + EVALUATION)
    (tmp_path / "solver.prototxt").write_text(
        'train_net: "train.prototxt" base_lr: 0.004 lr_policy: "fixed" type: "Adam" momentum: 0.9'
        " max_iter: 200 display: 0 random_seed: 3 snapshot_after_train: false"
        ' test_net: "test.prototxt" test_iter: 16 test_interval: 120 test_initialization: false'
        ' eval_type: "detection" ap_version: "11point" show_per_class_result: true'
    )
    caplog.set_level(logging.WARNING)
    said = io.StringIO()
    solver = caffe.get_solver("solver.prototxt", log=CaffeLog(said))
    losses = []
    for _ in range(120):
        solver.step(1)
        losses.append(float(solver.net.blobs["loss"].data))
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    labels = solver.net.blobs["label"].data
    assert labels.shape == (1, 1, 8, 8) and (labels[0, 0, :, 0] == range(8)).all()
    assert not [r for r in caplog.records if "does not use" in r.getMessage()]
    expected = judged_by_hand(solver.test_nets[0], 16)
    solver.step(1)
    logged = re.search(
        r"class1: (.*)\n.*class2: (.*)\n.* #0: detection_eval = (.*)", said.getvalue()
    )
    one, two, both = map(float, logged.groups())
    assert both == pytest.approx((one + two) / 2, abs=1e-5) == pytest.approx(expected, abs=1e-5)
    assert both > 0.5


# --- real files -----------------------------------------------------------------------------------

ZOO = os.environ.get("PYCAFFE_CLR_ZOO")
FILES = sorted(Path(ZOO).rglob("*.prototxt")) if ZOO else []
SOLVERS = [path for path in FILES if "base_lr" in path.read_text()]
NETS = [path for path in FILES if path not in SOLVERS and "layer" in path.read_text()]
# What a user's own file may be told: that a field has no effect, that a layer is for training.
THEIRS = re.compile(r"does not use it|run by the reference backend|two layers of the|upgrade")


def record_shape(source: str) -> tuple[int, int, int]:
    for word, shape in (("siamese", (2, 28, 28)), ("mnist", (1, 28, 28)), ("cifar", (3, 32, 32))):
        if word in source:
            return shape
    return 3, 256, 256


def make_data(folder: Path, net: proto.NetParameter) -> None:
    """What the net's data layers read, at the paths that they name."""
    for layer in net.layer:
        if layer.detection_evaluate_param.name_size_file:
            sizes = folder / "sizes.txt"
            sizes.write_text("".join(f"{name} 64 64\n" for name in range(4)))
            layer.detection_evaluate_param.name_size_file = str(sizes)
        if layer.type not in ("Data", "AnnotatedData", "ImageData"):
            continue
        param = layer.image_data_param if layer.type == "ImageData" else layer.data_param
        path = folder / param.source.lstrip("/")
        param.source, param.batch_size = str(path), 2
        path.parent.mkdir(parents=True, exist_ok=True)
        if layer.transform_param.mean_file:
            mean = folder / layer.transform_param.mean_file.lstrip("/")
            mean.parent.mkdir(parents=True, exist_ok=True)
            blob = caffe.io.array_to_blobproto(np.zeros((1, *record_shape(param.source))))
            mean.write_bytes(blob.SerializeToString())
            layer.transform_param.mean_file = str(mean)
        if path.exists():
            continue
        if layer.type == "AnnotatedData":
            box_database(path, 4, 64)
        elif layer.type == "ImageData":
            from PIL import Image

            Image.fromarray(RNG.integers(0, 256, (256, 256, 3), dtype=np.uint8)).save(
                folder / "picture.png"
            )
            param.root_folder = ""
            path.write_text(f"{folder / 'picture.png'} 0\n{folder / 'picture.png'} 1\n")
        else:
            with lmdb.open(str(path), map_size=1 << 26) as env, env.begin(write=True) as put:
                for number in range(4):
                    image = RNG.integers(0, 256, record_shape(param.source), dtype=np.uint8)
                    datum = caffe.io.array_to_datum(image, number % 2)
                    put.put(b"%08d" % number, datum.SerializeToString())


def prepared(path: Path, folder: Path) -> Path:
    """The net with batches of two and data that is made for it."""
    net, _ = load_net(path)
    make_data(folder, net)
    for layer in net.layer:
        if layer.type == "Input":
            for shape in layer.input_param.shape:
                if len(shape.dim) > 1:
                    shape.dim[0] = 1
    copy = folder / path.name
    copy.write_text(text_format.MessageToString(net))
    return copy


def told(caplog) -> list[str]:
    said = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    return [message for message in said if not THEIRS.search(message)]


def missing_module(text: str) -> bool:
    return "module:" in text


@pytest.mark.skipif(not ZOO, reason="PYCAFFE_CLR_ZOO names no folder of real files")
@pytest.mark.parametrize("path", NETS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_real_net(path, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    copy = prepared(path, tmp_path)
    train = "loss" in path.read_text().lower() and "Input" not in copy.read_text()
    # Where data layers are for one phase each, the phases that have one.
    rules = [rule for each in load_net(copy)[0].layer if not each.bottom for rule in each.include]
    phases = {rule.phase for rule in rules} or {caffe.TRAIN, caffe.TEST}
    for phase in sorted(phases) if train else (caffe.TEST,):
        try:
            net = caffe.Net(copy, phase, stages=["test-on-train"] if phase == caffe.TEST else [])
        except ConfigError as error:
            if missing_module(path.read_text()):
                assert "there is no Python module" in str(error)
                return
            raise
        net.forward()
        if phase == caffe.TRAIN:
            net.backward()
        for name in net.outputs:
            assert np.isfinite(net.blobs[name].data).all(), name
    assert not told(caplog)


@pytest.mark.skipif(not ZOO, reason="PYCAFFE_CLR_ZOO names no folder of real files")
@pytest.mark.parametrize("path", SOLVERS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_real_solver(path, tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.WARNING)
    monkeypatch.chdir(tmp_path)
    text = path.read_text()
    nets = {}
    text = re.sub(r"(test_interval|test_initialization|snapshot\w*):.*", "", text)
    for field, name in re.findall(r'^\s*(net|train_net|test_net):\s*"(.*)"', text, re.M):
        found = next(p for p in (path.parent / name, path.parent / Path(name).name) if p.exists())
        nets[field] = found
        if not missing_module(found.read_text()):
            text = text.replace(f'"{name}"', f'"{prepared(found, tmp_path)}"')
        else:
            text = text.replace(f'"{name}"', f'"{found}"')
    detects = 'eval_type: "detection"' in text
    quiet = 'test_interval: 1000 snapshot_prefix: "at" display: 0 snapshot_after_train: false'
    text = re.sub(r"display:.*", "", text)
    if detects:
        text = re.sub(r"test_iter:.*", "test_iter: 2", text)
    (tmp_path / "solver.prototxt").write_text(
        f"{text}\n{quiet} test_initialization: {str(detects).lower()}\n"
    )
    said = io.StringIO()
    try:
        solver = caffe.get_solver("solver.prototxt", device="cpu", log=CaffeLog(said))
    except ConfigError as error:
        assert any(missing_module(net.read_text()) for net in nets.values())
        assert "there is no Python module" in str(error)
        return
    solver.step(1)
    assert solver.iter == 1 and not told(caplog)
    tested = re.findall(r"Test net output #0: detection_eval = (.*)", said.getvalue())
    assert len(tested) == detects and all(0 <= float(value) <= 1 for value in tested)


DETECTORS = [
    path
    for path in NETS
    if re.search('"(DetectionOutput|Proposal)"', path.read_text())
    and "AnnotatedData" not in path.read_text()
]


@pytest.mark.skipif(not ZOO, reason="PYCAFFE_CLR_ZOO names no folder of real files")
@pytest.mark.parametrize("path", DETECTORS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_real_detector_in_onnx(path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    from pycaffe_clr.export.onnx_file import onnx_bytes

    net = caffe.Net(path, caffe.TEST)
    fill_detector(net, np.random.default_rng(5))
    wanted = net.forward()
    session = runtime.InferenceSession(onnx_bytes(net), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    values = session.run(names, {name: np.array(net.blobs[name].data) for name in net.inputs})
    for name, found in zip(names, values, strict=True):
        assert found.shape == wanted[name].shape and max(found.shape[:3]) > 50
        assert np.abs(found - wanted[name]).max() <= 1e-5 * np.abs(wanted[name]).max()
