"""Every type of layer with wrong numbers of bottoms and tops, and with bottoms of odd shapes: a net
is built, or an error names the layer."""

from __future__ import annotations

import itertools

import pytest

import pycaffe_clr as caffe
from pycaffe_clr import proto
from pycaffe_clr.engine import build_net
from pycaffe_clr.errors import ConfigError, PycaffeClrError

SHAPES = [(), (1,), (2, 3), (1, 2, 8), (2, 4, 5, 6), (1,) * 32]
# Settings with which a type is built where its bottoms fit.
FIELDS = {
    "Convolution": {"convolution_param": {"num_output": 2, "kernel_size": [1]}},
    "Deconvolution": {"convolution_param": {"num_output": 2, "kernel_size": [1]}},
    "InnerProduct": {"inner_product_param": {"num_output": 2}},
    "Embed": {"embed_param": {"num_output": 2, "input_dim": 3}},
    "LSTM": {"recurrent_param": {"num_output": 2}},
    "RNN": {"recurrent_param": {"num_output": 2}},
    "Pooling": {"pooling_param": {"kernel_size": 1}},
    "ROIPooling": {"roi_pooling_param": {"pooled_h": 1, "pooled_w": 1}},
    "PriorBox": {"prior_box_param": {"min_size": [2]}},
    "MultiBoxLoss": {"multibox_loss_param": {"num_classes": 2}},
    "DetectionOutput": {"detection_output_param": {"num_classes": 2}},
    "Clip": {"clip_param": {"min": 0, "max": 1}},
    "Python": {"python_param": {"module": "no_such_module", "layer": "Any"}},
}


def attempt(kind: str, bottoms: list[tuple[int, ...]], tops: int) -> bool:
    """Whether such a net is built."""
    net = proto.NetParameter()
    names = [f"in{n}" for n in range(len(bottoms))]
    for name, shape in zip(names, bottoms, strict=True):
        net.layer.add(name=name, type="Input", top=[name]).input_param.shape.add(dim=shape)
    layer = proto.LayerParameter(**FIELDS.get(kind, {}))
    layer.name, layer.type = "it", kind
    layer.bottom.extend(names)
    layer.top.extend(f"out{n}" for n in range(tops))
    net.layer.add().CopyFrom(layer)
    try:
        build_net(net, phase=caffe.TRAIN, device="reference")
    except PycaffeClrError as error:
        assert isinstance(error, ConfigError), (kind, bottoms, tops, error)
        told = " ".join([str(error), *getattr(error, "__notes__", [])])
        assert "layer 'it'" in told, (kind, bottoms, tops, told)
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
