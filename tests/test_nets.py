"""The nets in prototxt/: written by their generator, equal to the report's originals."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import text_format

from pycaffe_clr import proto

ROOT = Path(__file__).resolve().parents[1]
NETS = ROOT / "prototxt"

ORIGINALS = {
    "resnet56": "originals/Cifar/architectures/gResnet56.prototxt",
    "resnet56_cifar100": "originals/Cifar/architectures/c100Resnet56.prototxt",
    "wide32": "originals/Cifar/architectures/wide32cifar.prototxt",
    "densenet40": "originals/Cifar/architectures/genDensenet40.prototxt",
    "cifar3": "originals/Cifar/architectures/cifar3.prototxt",
    "cifar3_cifar100": "originals/Cifar/architectures/cifar100.prototxt",
    "resnet50": "originals/Imagenet/architectures/resnet50.prototxt",
    "inception_resnet_v2": "originals/Imagenet/architectures/inception-resnet-v2.prototxt",
    "lenet": "golden/trajectories/lenet/net.prototxt",
}


def net_of(text: str):
    return text_format.Parse(text, proto.NetParameter())


def without_places(layer, same_data: bool):
    """A layer as it is compared: the training batch, a placeholder, is left out.

    Also left out are the originals' image_data_param on Data layers, which does nothing there, and
    the deprecated data_param.mirror that repeats transform_param's. same_data: data paths count.
    """
    compared = type(layer)()
    compared.CopyFrom(layer)
    compared.ClearField("image_data_param")
    if layer.type == "Data":
        compared.data_param.ClearField("mirror")
        if layer.include[0].phase == proto.TRAIN:
            compared.data_param.ClearField("batch_size")
        if not same_data:
            compared.data_param.ClearField("source")
            compared.transform_param.ClearField("mean_file")
    return compared


def test_the_generator_writes_what_is_committed():
    run = [sys.executable, "-B", str(NETS / "generate.py"), "--check"]
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", sorted(ORIGINALS))
def test_a_net_equals_its_original_layer_by_layer(name, shared):
    text = (shared / ORIGINALS[name]).read_text()
    original = net_of(re.sub(r"\bxBS\b", "128", text))
    ours = net_of((NETS / f"{name}.prototxt").read_text())
    assert ours.name == original.name
    assert [layer.name for layer in ours.layer] == [layer.name for layer in original.layer]
    same_data = "Cifar" in ORIGINALS[name]
    for mine, theirs in zip(ours.layer, original.layer, strict=True):
        assert without_places(mine, same_data) == without_places(theirs, same_data)


@pytest.mark.parametrize("path", sorted(NETS.glob("*.prototxt")), ids=lambda path: path.stem)
def test_a_net_hangs_together(path):
    """Every bottom is a top of a layer before it, in both phases; relative data paths only."""
    net = net_of(path.read_text())
    for phase in (proto.TRAIN, proto.TEST):
        tops: set[str] = set()
        for layer in net.layer:
            if layer.include and layer.include[0].phase != phase:
                continue
            assert set(layer.bottom) <= tops, layer.name
            tops |= set(layer.top)
            if layer.type == "Data":
                assert not Path(layer.data_param.source).is_absolute()
        assert {"loss", "label"} <= tops


def test_data_sets_differ_only_in_data_and_classes():
    for kind in ("cifar3", "resnet56", "wide32", "densenet40"):
        small = net_of((NETS / f"{kind}.prototxt").read_text())
        large = net_of((NETS / f"{kind}_cifar100.prototxt").read_text())
        differing = [
            mine.type
            for mine, theirs in zip(small.layer, large.layer, strict=True)
            if mine != theirs
        ]
        assert differing == ["Data", "Data", "InnerProduct"]
