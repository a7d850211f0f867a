"""Every type of layer with wrong numbers of bottoms and tops, with bottoms of odd shapes, and with
settings and numbers that Caffe refuses: an error names the layer, and the process goes on."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from layer_samples import SAMPLES, Sample, make_files, message_of
from refused_settings import ANY, BAD, FREE, NUMBERS

import pycaffe_clr as caffe
from pycaffe_clr import proto
from pycaffe_clr.engine import build_net
from pycaffe_clr.errors import ConfigError, DataError
from pycaffe_clr.prototxt import parse_net

SHAPES = [(), (1,), (2, 3), (1, 2, 8), (2, 4, 5, 6), (1,) * 32]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("samples")
    make_files(path)
    return path


@pytest.fixture(autouse=True)
def in_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)


def told(error: BaseException) -> str:
    return " ".join([str(error), *getattr(error, "__notes__", [])])


def attempt(kind: str, bottoms: list[tuple[int, ...]], tops: int) -> bool:
    """Whether such a net is built."""
    net = proto.NetParameter()
    names = [f"in{n}" for n in range(len(bottoms))]
    for name, shape in zip(names, bottoms, strict=True):
        net.layer.add(name=name, type="Input", top=[name]).input_param.shape.add(dim=shape)
    layer = net.layer.add()
    layer.CopyFrom(parse_net(SAMPLES[kind].net(kind)).layer[-1])
    layer.bottom[:] = names
    layer.top[:] = [f"out{n}" for n in range(tops)]
    try:
        build_net(net, phase=caffe.TRAIN, device="reference")
    except (ConfigError, DataError) as error:
        assert "layer 'it'" in told(error), (kind, bottoms, tops, told(error))
        return False
    return True


@pytest.mark.parametrize("kind", sorted(set(caffe.layer_type_list())))
def test_a_layer_is_built_or_named(kind):
    built = [
        attempt(kind, [shape] * bottoms, tops)
        for bottoms, tops in itertools.product((0, 1, 2, 4, 7), (0, 1, 3))
        for shape in (SHAPES if bottoms in (1, 2) and tops == 1 else SHAPES[-2:-1])
    ]
    assert not all(built)


def refusals(kind: str):
    for fields, word, *bottoms in BAD.get(kind, []):
        begins = fields.split(" ", 1)[0]
        if fields and not (begins.endswith("_param") or begins == "param"):
            fields = f"{message_of(kind)} {{ {fields} }}"
        sample = SAMPLES[kind]
        yield Sample(bottoms[0] if bottoms else sample.bottoms, fields, sample.names), word
    for fields, word in ANY:
        sample = SAMPLES[kind]
        yield Sample(sample.bottoms, f"{sample.fields} {fields}", sample.names), word


@pytest.mark.parametrize("kind", sorted(SAMPLES))
def test_settings_that_caffe_refuses_name_the_layer(kind):
    wrong = []
    for sample, word in refusals(kind):
        try:
            build_net(parse_net(sample.net(kind)), phase=caffe.TRAIN, device="reference")
            text = "taken"
        except (ConfigError, DataError) as error:
            text = told(error)
        except Exception as error:
            text = repr(error)
        if not ("layer 'it'" in text and word in text):
            wrong.append(f"{sample.bottoms} {sample.fields}: {word!r} is not in: {text}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("kind", ["AbsVal", "Flatten", "Reshape", "Split"])
def test_types_that_caffe_keeps_out_of_place_say_so(kind):
    sample = SAMPLES[kind]
    text = Sample(sample.bottoms, sample.fields, ("in0", *sample.names[1:])).net(kind)
    with pytest.raises(ConfigError, match="layer 'it'.*cannot work in place"):
        build_net(parse_net(text), phase=caffe.TRAIN, device="reference")


def test_each_type_has_its_list():
    assert set(BAD) | FREE == set(SAMPLES) == set(caffe.layer_type_list())
    assert not set(BAD) & FREE


@pytest.mark.parametrize("device", ["reference", "cpu"])
@pytest.mark.parametrize(("kind", "index", "numbers", "bad"), NUMBERS)
def test_numbers_that_no_class_or_row_has_name_the_layer(kind, index, numbers, bad, device):
    net, _ = build_net(parse_net(SAMPLES[kind].net(kind)), phase=caffe.TRAIN, device=device)
    place = net.data(f"in{index}")
    for value in (*bad, 1e9, -1e30, np.nan, np.inf):
        place[...] = np.reshape([value if n == "bad" else n for n in numbers], place.shape)
        with pytest.raises(DataError, match="layer 'it'"):
            net.forward()
    place[...] = 0
    net.forward()
