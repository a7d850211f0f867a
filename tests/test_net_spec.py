"""Nets written in Python: NetSpec, and the coordinates of their blobs."""

from __future__ import annotations

import numpy as np
import pytest

import pycaffe_clr as caffe
from pycaffe_clr import coord_map
from pycaffe_clr import layers as L
from pycaffe_clr import params as P


def parts(net):
    """(name, type, bottoms, tops) of each layer."""
    return [(x.name, x.type, list(x.bottom), list(x.top)) for x in net.layer]


def small(spec):
    spec.data, spec.label = L.DummyData(
        shape=[dict(dim=[2, 1, 8, 8]), dict(dim=[2])], ntop=2, transform_param=dict(scale=0.5)
    )
    spec.conv = L.Convolution(
        spec.data, kernel_size=3, num_output=4, weight_filler=dict(type="xavier")
    )
    pooled = L.Pooling(spec.conv, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    spec.relu = L.ReLU(pooled, in_place=True)
    spec.ip = L.InnerProduct(spec.relu, num_output=3, param=[dict(lr_mult=1), dict(lr_mult=2)])
    spec["loss"] = L.SoftmaxWithLoss(spec.ip, spec.label)
    return spec


def test_settings_go_to_the_message_that_a_type_reads():
    x, cont = L.DummyData(ntop=2)
    for kind, inputs, message in [
        ("LSTM", (x, cont), "recurrent_param"),
        ("RNN", (x, cont), "recurrent_param"),
        ("Deconvolution", (x,), "convolution_param"),
        ("DepthwiseConvolution", (x,), "convolution_param"),
    ]:
        layer = getattr(L, kind)(*inputs, num_output=3).to_proto().layer[-1]
        assert getattr(layer, message).num_output == 3
    layer = L.Resize(x, height=3, width=4).to_proto().layer[-1]
    assert (layer.resize_param.height, layer.resize_param.width) == (3, 4)


def test_names_are_those_of_the_attributes_or_made_from_the_type():
    assert parts(small(caffe.NetSpec()).to_proto()) == [
        ("data", "DummyData", [], ["data", "label"]),
        ("conv", "Convolution", ["data"], ["conv"]),
        ("Pooling1", "Pooling", ["conv"], ["Pooling1"]),
        ("relu", "ReLU", ["Pooling1"], ["Pooling1"]),
        ("ip", "InnerProduct", ["Pooling1"], ["ip"]),
        ("loss", "SoftmaxWithLoss", ["ip", "label"], ["loss"]),
    ]
    data, label = L.DummyData(ntop=2)
    net = caffe.to_proto(L.SoftmaxWithLoss(L.ReLU(L.ReLU(data)), label))
    assert parts(net) == [
        ("DummyData1", "DummyData", [], ["DummyData1", "DummyData2"]),
        ("ReLU1", "ReLU", ["DummyData1"], ["ReLU1"]),
        ("ReLU2", "ReLU", ["ReLU1"], ["ReLU2"]),
        ("SoftmaxWithLoss1", "SoftmaxWithLoss", ["ReLU2", "DummyData2"], ["SoftmaxWithLoss1"]),
    ]


def test_fields_go_to_the_types_own_parameters_or_to_the_layer():
    conv, _, relu, ip, _ = small(caffe.NetSpec()).to_proto().layer[1:]
    assert conv.convolution_param.kernel_size == [3]
    assert conv.convolution_param.weight_filler.type == "xavier"
    assert [each.lr_mult for each in ip.param] == [1, 2]
    fn = L.Eltwise(
        L.Input(shape=dict(dim=3)), operation=P.Eltwise.MAX, loss_weight=2, propagate_down=True,
        include=dict(phase=caffe.TEST), python_param=dict(module="m"),
    )  # fmt: skip
    layer = fn.to_proto().layer[1]
    assert layer.eltwise_param.operation == 2 and layer.loss_weight == [2]
    assert layer.propagate_down == [True] and layer.include[0].phase == caffe.TEST
    assert layer.python_param.module == "m"
    deconv = L.Deconvolution(L.Input(shape=dict(dim=3)), num_output=2).to_proto().layer[1]
    assert deconv.convolution_param.num_output == 2


def test_layers_without_tops(tmp_path):
    spec = caffe.NetSpec()
    spec.a, spec.b = L.DummyData(shape=dict(dim=3), ntop=2)
    spec.quiet = L.Silence(spec.a, ntop=0)
    net = spec.to_proto()
    assert net.layer[1].name == "quiet" and not net.layer[1].top
    assert L.Silence(spec.a, spec.b, ntop=0).to_proto().layer[1].name == "Silence1"


def test_a_spec_is_built_as_text(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(str(small(caffe.NetSpec()).to_proto()))
    net = caffe.Net(path, caffe.TRAIN)
    assert [layer.type for layer in net.layers][:2] == ["DummyData", "Convolution"]
    assert net.forward()["loss"] == pytest.approx(np.log(3), rel=0.5)


def test_deep_nets_do_not_need_a_deep_stack():
    top = L.Input(shape=dict(dim=3))
    for _ in range(3000):
        top = L.ReLU(top, in_place=True)
    assert len(top.to_proto().layer) == 3001


def test_what_is_wrong_is_told():
    data = L.DummyData(ntop=2)
    with pytest.raises(TypeError, match=r"^Silence input 0 is not a Top \(type is <class 'tuple'>"):
        L.Silence(data, ntop=0)
    spec = caffe.NetSpec()
    spec.data = data
    with pytest.raises(TypeError, match="'data' is not a Top"):
        spec.to_proto()
    with pytest.raises(AttributeError, match="no top 'nothing'"):
        getattr(spec, "nothing")  # noqa: B009
    for wrong in (dict(kernel=3), dict(num_output="many"), dict(weight_filler=3)):
        with pytest.raises(caffe.ConfigError, match=r"layer 'Convolution1' \(Convolution\): "):
            L.Convolution(data[0], **wrong).to_proto()


def test_tops_may_be_taken_out_and_looked_for():
    spec = small(caffe.NetSpec())
    del spec.loss, spec["ip"]
    assert "ip" not in spec and "conv" in spec and len(spec.to_proto().layer) == 4


def test_an_editor_sees_the_types():
    assert {"Convolution", "Data"} <= set(dir(L)) and "Pooling" in dir(P)
    assert P.Data.LMDB == caffe.proto.caffe_pb2.DataParameter.LMDB


# --- coordinates ----------------------------------------------------------------------------------


def upsampled(ks=3, stride=1, pad=0, pool=2, dstride=2, dpad=0, axes=2):
    spec = caffe.NetSpec()
    spec.data = L.Input(shape=dict(dim=[2, 1] + [100] * axes))
    spec.conv = L.Convolution(spec.data, num_output=5, kernel_size=ks, stride=stride, pad=pad)
    spec.pool = L.Pooling(spec.conv, kernel_size=pool, stride=pool)
    spec.up = L.Deconvolution(
        spec.pool, num_output=5, kernel_size=2 * dstride, stride=dstride, pad=dpad
    )
    return spec


def mapped(spec, start="up", end="data"):
    return coord_map.coord_map_from_to(spec[start], spec[end])


def test_maps_through_convolution_pooling_and_their_inverse():
    assert mapped(upsampled()) == (1, 1, 0)
    assert mapped(upsampled(pool=4, dstride=4)) == (1, 1, -1)
    assert mapped(upsampled(pad=7)) == (1, 1, -7)
    assert mapped(upsampled(dpad=7)) == (1, 1, 7)
    assert mapped(upsampled(), "conv", "data") == (1, 1, 1)
    assert mapped(upsampled(), "data", "conv") == (1, 1, -1)


def test_maps_of_several_axes():
    _, scale, shift = mapped(upsampled(ks=[3, 5], stride=[1, 2], pad=[0, 10]))
    assert (scale[0], shift[0]) == mapped(upsampled())[1:]
    assert (scale[1], shift[1]) == mapped(upsampled(ks=5, stride=2, pad=10))[1:]
    axis, scale, shift = mapped(upsampled(pad=[0, 1, 2], axes=3))
    assert axis == 1 and (scale == 1).all() and shift.tolist() == [0, -1, -2]


def test_pointwise_layers_and_crops_pass_coordinates_on():
    spec = upsampled()
    spec.relu = L.ReLU(spec.up)
    spec.conv1x1 = L.Convolution(spec.relu, num_output=5, kernel_size=1)
    assert mapped(spec, "conv1x1") == mapped(spec)
    spec.crop = L.Crop(spec.up, spec.data, axis=2, offset=3)
    assert mapped(spec, "crop") == (1, 1, 3)
    assert mapped(spec, "relu", "up") == (None, 1, 0)


def test_crop_makes_the_layer():
    spec = upsampled(pad=4)
    layer = coord_map.crop(spec.up, spec.data).to_proto().layer[-1]
    assert layer.type == "Crop" and layer.crop_param.axis == 2 and layer.crop_param.offset == [4]
    spec.relu = L.ReLU(spec.up)
    assert coord_map.crop(spec.relu, spec.up).to_proto().layer[-1].crop_param.axis == 2


def test_what_cannot_be_cropped_is_told():
    for wrong, message in [
        (upsampled(pool=3), "scale mismatch"),
        (upsampled(dpad=10), "negative offset"),
        (upsampled(ks=4, pad=3), "noninteger offset"),
    ]:
        with pytest.raises(AssertionError, match=message):
            coord_map.crop(wrong.up, wrong.data)
    spec = upsampled()
    spec.ip = L.InnerProduct(spec.up, num_output=3)
    with pytest.raises(RuntimeError, match="no spatial layers connect the InnerProduct"):
        mapped(spec, "ip")
    legacy = L.Convolution(spec.data, kernel_h=3, kernel_w=2, num_output=1)
    with pytest.raises(caffe.ConfigError, match="_h and _w"):
        coord_map.coord_map_from_to(legacy, spec.data)
