"""The nets in prototxt/: written by their generator, equal to the report's originals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from original_nets import ORIGINALS, digests, net_of, original, stored

from pycaffe_clr import proto

ROOT = Path(__file__).resolve().parents[1]
NETS = ROOT / "prototxt"


def test_the_generator_writes_what_is_committed():
    run = [sys.executable, "-B", str(NETS / "generate.py"), "--check"]
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", sorted(ORIGINALS))
def test_a_net_equals_its_original_layer_by_layer(name):
    ours = net_of((NETS / f"{name}.prototxt").read_text())
    names = ["the name of the net", *(layer.name for layer in ours.layer)]
    expected = stored()[name]
    pairs = zip(names, digests(name, ours), expected, strict=True)
    assert [which for which, mine, theirs in pairs if mine != theirs] == []


def test_digests_tell_every_change():
    """All but the sizes of training batches, which the originals leave open."""
    ours = net_of((NETS / "cifar3.prototxt").read_text())
    whole = digests("cifar3", ours)
    ours.layer[0].data_param.batch_size += 1
    assert digests("cifar3", ours) == whole
    ours.layer[1].data_param.batch_size += 1
    ours.layer[2].convolution_param.weight_filler.std *= 2
    now = digests("cifar3", ours)
    assert [i for i in range(len(whole)) if whole[i] != now[i]] == [2, 3]


@pytest.mark.parametrize("name", sorted(ORIGINALS))
def test_digests_are_those_of_the_originals(name, shared):
    assert digests(name, original(name, shared)) == stored()[name]


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
