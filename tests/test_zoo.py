"""Nets like those that Caffe's model zoos hold: built, run and trained for a step.

With PYCAFFE_CLR_ZOO naming a folder of real files (.prototxt of nets and solvers, in any depth),
each of them too, over data that is made for it.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

import lmdb
import numpy as np
import pytest
from google.protobuf import text_format

import pycaffe_clr as caffe
from pycaffe_clr import proto
from pycaffe_clr.errors import ConfigError
from pycaffe_clr.prototxt import load_net

RNG = np.random.default_rng(7)

# --- a small SSD ----------------------------------------------------------------------------------

BODY = """
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 8 kernel_size: 3 stride: 4 pad: 1
    weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "norm1" type: "Normalize" bottom: "conv1" top: "norm1"
  norm_param { across_spatial: false channel_shared: false
    scale_filler { type: "constant" value: 20 } } }
layer { name: "conv2" type: "Convolution" bottom: "conv1" top: "conv2"
  convolution_param { num_output: 8 kernel_size: 3 stride: 2 pad: 1
    weight_filler { type: "xavier" } } }
layer { name: "relu2" type: "ReLU" bottom: "conv2" top: "conv2" }
"""


def head(source: str, boxes: int, sizes: str) -> str:
    """What SSD puts upon a map: shifts, confidences of three classes, and prior boxes."""
    text = ""
    for kind, count in (("loc", 4 * boxes), ("conf", 3 * boxes)):
        name = f"{source}_{kind}"
        text += f"""
layer {{ name: "{name}" type: "Convolution" bottom: "{source}" top: "{name}"
  convolution_param {{ num_output: {count} kernel_size: 3 pad: 1
    weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "{name}_perm" type: "Permute" bottom: "{name}" top: "{name}_perm"
  permute_param {{ order: 0 order: 2 order: 3 order: 1 }} }}
layer {{ name: "{name}_flat" type: "Flatten" bottom: "{name}_perm" top: "{name}_flat"
  flatten_param {{ axis: 1 }} }}
"""
    return (
        text
        + f"""
layer {{ name: "{source}_prior" type: "PriorBox" bottom: "{source}" bottom: "data"
  top: "{source}_prior" prior_box_param {{ {sizes} aspect_ratio: 2 flip: true clip: false
    variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 offset: 0.5 }} }}
"""
    )


def joined(name: str, kind: str, axis: int) -> str:
    return f"""layer {{ name: "{name}" type: "Concat" bottom: "norm1_{kind}" bottom: "conv2_{kind}"
  top: "{name}" concat_param {{ axis: {axis} }} }}\n"""


HEADS = (
    head("norm1", 4, "min_size: 10 max_size: 16")
    + head("conv2", 3, "min_size: 18")
    + joined("loc", "loc_flat", 1)
    + joined("conf", "conf_flat", 1)
    + joined("prior", "prior", 2)
)
LOSS = """
layer { name: "loss" type: "MultiBoxLoss" bottom: "loc" bottom: "conf" bottom: "prior"
  bottom: "label" top: "loss" include { phase: TRAIN }
  propagate_down: true propagate_down: true propagate_down: false propagate_down: false
  loss_param { normalization: VALID }
  multibox_loss_param { num_classes: 3 code_type: CENTER_SIZE neg_pos_ratio: 3 } }
"""
DETECTIONS = """
layer { name: "scores" type: "Reshape" bottom: "conf" top: "scores"
  reshape_param { shape { dim: 0 dim: -1 dim: 3 } } }
layer { name: "softmax" type: "Softmax" bottom: "scores" top: "softmax" softmax_param { axis: 2 } }
layer { name: "flat" type: "Flatten" bottom: "softmax" top: "flat" flatten_param { axis: 1 } }
layer { name: "found" type: "DetectionOutput" bottom: "loc" bottom: "flat" bottom: "prior"
  top: "found" detection_output_param { num_classes: 3 code_type: CENTER_SIZE keep_top_k: 20
    confidence_threshold: 0.5 nms_param { nms_threshold: 0.45 top_k: 40 } } }
"""
DATA = """
layer { name: "data" type: "AnnotatedData" top: "data" top: "label" include { phase: TRAIN }
  transform_param { mirror: true mean_value: 100 scale: 0.02
    resize_param { prob: 1 resize_mode: WARP height: 32 width: 32 interp_mode: LINEAR
      interp_mode: AREA }
    emit_constraint { emit_type: CENTER } expand_param { prob: 0.2 max_expand_ratio: 1.5 } }
  data_param { source: "boxes" batch_size: 8 backend: LMDB }
  annotated_data_param { batch_sampler { max_sample: 1 max_trials: 1 } label_map_file: "none" } }
"""


def box_database(folder: Path, count: int, size: int, seed: int = 1) -> None:
    """Gray pictures, each with one bright square (class 1) or dark one (class 2)."""
    random = np.random.default_rng(seed)
    with lmdb.open(str(folder), map_size=1 << 26) as env, env.begin(write=True) as put:
        for number in range(count):
            image = random.integers(90, 110, (3, size, size), dtype=np.uint8)
            side = size * 3 // 8
            x, y = random.integers(0, size - side, 2)
            label = 1 + number % 2
            image[:, y : y + side, x : x + side] = 250 if label == 1 else 5
            message = proto.AnnotatedDatum(type=0)
            message.datum.channels, message.datum.height, message.datum.width = image.shape
            message.datum.data = image.tobytes()
            box = message.annotation_group.add(group_label=label).annotation.add().bbox
            box.xmin, box.ymin = x / size, y / size
            box.xmax, box.ymax = (x + side) / size, (y + side) / size
            put.put(b"%08d" % number, message.SerializeToString())


def test_a_small_ssd_learns_to_find_squares(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    box_database(tmp_path / "boxes", 64, 32)
    (tmp_path / "train.prototxt").write_text(DATA + BODY + HEADS + LOSS)
    (tmp_path / "solver.prototxt").write_text(
        'train_net: "train.prototxt" base_lr: 0.004 lr_policy: "fixed" type: "Adam" momentum: 0.9'
        " max_iter: 200 display: 0 random_seed: 3 snapshot_after_train: false"
        ' eval_type: "detection" ap_version: "11point"'
    )
    caplog.set_level(logging.WARNING)
    solver = caffe.get_solver("solver.prototxt")
    losses = []
    for _ in range(120):
        solver.step(1)
        losses.append(float(solver.net.blobs["loss"].data))
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    labels = solver.net.blobs["label"].data
    assert labels.shape == (1, 1, 8, 8) and (labels[0, 0, :, 0] == range(8)).all()
    assert not [r for r in caplog.records if "does not use" in r.getMessage()]
    deploy = 'input: "data" input_shape { dim: 2 dim: 3 dim: 32 dim: 32 }\n'
    (tmp_path / "deploy.prototxt").write_text(deploy + BODY + HEADS + DETECTIONS)
    net = caffe.Net("deploy.prototxt", caffe.TEST)
    net.share_with(solver.net)
    right = 0
    for batch in range(4):
        net.blobs["data"].data[...] = solver.net.blobs["data"].data[2 * batch : 2 * batch + 2]
        rows = net.forward()["found"][0, 0]
        assert rows.shape[1] == 7
        for sample in range(2):
            truth = labels[0, 0, 2 * batch + sample]
            found = rows[rows[:, 0] == sample]
            if len(found) and found[0, 2] > 0:
                best = found[found[:, 2].argmax()]
                low, high = np.maximum(best[3:5], truth[3:5]), np.minimum(best[5:], truth[5:7])
                area = (best[5:] - best[3:5]).prod() + (truth[5:7] - truth[3:5]).prod()
                shared = np.maximum(high - low, 0).prod()
                right += best[1] == truth[1] and shared / (area - shared) > 0.4
    assert right >= 5


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


def expect_evaluation(text: str) -> None:
    if "DetectionEvaluate" in text:
        pytest.xfail("the SSD fork's DetectionEvaluate is not there")


def missing_module(text: str) -> bool:
    return "module:" in text


@pytest.mark.skipif(not ZOO, reason="PYCAFFE_CLR_ZOO names no folder of real files")
@pytest.mark.parametrize("path", NETS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_real_net(path, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    expect_evaluation(path.read_text())
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
        expect_evaluation(found.read_text())
        if not missing_module(found.read_text()):
            text = text.replace(f'"{name}"', f'"{prepared(found, tmp_path)}"')
        else:
            text = text.replace(f'"{name}"', f'"{found}"')
    quiet = 'test_interval: 1000 test_initialization: false snapshot_prefix: "at" display: 0'
    text = re.sub(r"display:.*", "", text)
    (tmp_path / "solver.prototxt").write_text(f"{text}\n{quiet} snapshot_after_train: false\n")
    try:
        solver = caffe.get_solver("solver.prototxt", device="cpu")
    except ConfigError as error:
        assert any(missing_module(net.read_text()) for net in nets.values())
        assert "there is no Python module" in str(error)
        return
    solver.step(1)
    assert solver.iter == 1 and not told(caplog)
