"""Ways out of Caffe: ONNX files, run by onnxruntime, and PyTorch modules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from detector_nets import DEPLOY_RCNN, DEPLOY_SSD, fill_detector
from export_cases import CASES, kind_of, net_text

import pycaffe_clr as caffe
from pycaffe_clr import cli
from pycaffe_clr.catalog import find_net
from pycaffe_clr.export.build import LAYERS, graph_of
from pycaffe_clr.prototxt import read_net

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def make(tmp_path: Path):
    """Build a net of some text, with random inputs and statistics, and run it."""

    def build(text: str, name: str = "net", **settings) -> caffe.Net:
        path = tmp_path / f"{name}.prototxt"
        path.write_text(text)
        net = caffe.Net(path, caffe.TEST, seed=3, **settings)
        rng = np.random.default_rng(4)
        for blob in net.inputs:
            net.blobs[blob].data[...] = rng.standard_normal(net.blobs[blob].shape)
        kinds = {layer.type for layer in net.layers}
        if kinds & {"Embed", "BatchReindex"}:  # numbers of rows
            last = net.blobs[net.inputs[-1]]
            last.data[...] = rng.integers(0, 4, last.shape)
        if "ROIPooling" in kinds:
            net.blobs["b"].data[...] = [[0, 0, 0, 7, 8], [1, 3, 2, 15, 17], [0, 5, 6, 5, 6],
                                        [1, -4, 9, 30, 40]]  # fmt: skip
        if "DetectionOutput" in kinds:  # boxes that overlap
            low = rng.random((12, 2))
            net.blobs["d"].data[0, 0] = np.hstack([low, low + 0.3 + rng.random((12, 2))]).ravel()
            net.blobs["d"].data[0, 1] = 0.1
            net.blobs["a"].data[...] *= 0.1
        if "Proposal" in kinds:
            net.blobs["b"].data[...] *= 0.2
            net.blobs["d"].data[...] = [32, 40, 1.5]
        if "Filter" in kinds:
            net.blobs[net.inputs[-1]].data[...] = [1, 0, 2, 1]
        if "LSTMUnit" in kinds:
            net.blobs[net.inputs[-1]].data[...] = [[1, 0]]
        if kinds & {"LSTM", "RNN"}:  # sequences that begin and go on
            cont = net.blobs[net.inputs[1]].data
            cont[...] = [[0, 1], [1, 1], [0, 1]]
            if len(net.inputs) < 4:  # without states to begin from
                cont[0] = 0
        for layer in net.layers:
            if layer.type == "BatchNorm":
                for blob, low in zip(layer.blobs, (-1, 0.5, 2), strict=False):
                    blob.data[...] = rng.random(blob.shape) + low
        net.forward()
        return net

    return build


def skip_unknown(kind: str) -> None:
    if kind not in caffe.layer_type_list():
        pytest.skip(f"no layer of type {kind} here")


def inputs_of(net: caffe.Net) -> dict[str, np.ndarray]:
    return {name: np.array(net.blobs[name].data) for name in net.inputs}


def run_onnx(data: bytes, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    needed = {each.name for each in session.get_inputs()}
    values = session.run(names, {name: inputs[name] for name in needed})
    return dict(zip(names, values, strict=True))


def assert_equal(net: caffe.Net, found: dict[str, np.ndarray]) -> None:
    assert set(found) == set(net.outputs)
    for name, values in found.items():
        wanted = net.blobs[name].data
        assert values.shape == wanted.shape and values.dtype == np.float32, name
        assert np.allclose(values, wanted, rtol=1e-5, atol=1e-5), np.abs(values - wanted).max()


@pytest.mark.parametrize("name", CASES)
def test_onnxruntime_computes_what_the_net_does(name, make):
    pytest.importorskip("onnx")
    from pycaffe_clr.export.onnx_file import onnx_bytes

    skip_unknown(kind_of(name))
    net = make(net_text(name))
    assert_equal(net, run_onnx(onnx_bytes(net), inputs_of(net)))


@pytest.mark.parametrize("name", CASES)
def test_pytorch_computes_what_the_net_does(name, make):
    torch = pytest.importorskip("torch")
    skip_unknown(kind_of(name))
    net = make(net_text(name))
    module = caffe.to_torch(net)
    inputs = {key: torch.from_numpy(value) for key, value in inputs_of(net).items()}
    found = module(**{key: inputs[key] for key in module.inputs})
    if not isinstance(found, dict):
        found = {module.outputs[0]: found}
    assert_equal(net, {key: value.detach().numpy() for key, value in found.items()})


def test_every_exported_type_has_a_case():
    tried = {kind_of(name) for name in CASES} | {"Log"}
    # By the test below; of no use alone; names of one and the same.
    untried = {"Split", "Parameter", "ConvolutionDepthwise"}
    assert set(LAYERS) == tried | untried


# Two readers of one blob, layers in place, a dropped loss with its label, two outputs.
WHOLE = """
name: "whole"
layer { name: "data" type: "DummyData" top: "data" top: "label"
  dummy_data_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } shape { dim: 2 }
    data_filler { type: "gaussian" } data_filler { type: "constant" } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "left" type: "Pooling" bottom: "conv" top: "left"
  pooling_param { pool: AVE global_pooling: true } }
layer { name: "right" type: "Sigmoid" bottom: "conv" top: "right" }
layer { name: "drop" type: "Dropout" bottom: "left" top: "left" }
layer { name: "ip" type: "InnerProduct" bottom: "left" top: "ip"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" }
"""


def test_the_graph_of_a_whole_net(make):
    net = make(WHOLE)
    graph = graph_of(net)
    assert graph.inputs == {"data": (2, 3, 8, 8)}
    assert graph.outputs == {"ip": (2, 5), "right": (2, 4, 6, 6)}
    outputs = [name for node in graph.nodes for name in node.outputs]
    assert len(set(outputs)) == len(outputs)
    assert {"conv", "conv/before_1", "conv/before_2", "left", "left/before_1"} <= set(outputs)
    assert graph.parameters["conv/1"] == ("conv", 1)


def test_a_whole_net_in_both_forms(make):
    pytest.importorskip("onnx")
    from pycaffe_clr.export.onnx_file import onnx_bytes

    net = make(WHOLE)
    data = np.array(net.blobs["data"].data)
    wanted = {name: np.array(net.blobs[name].data) for name in ("ip", "right")}
    found = run_onnx(onnx_bytes(net, dynamic_batch=True), {"data": data})
    assert all(np.allclose(found[name], wanted[name], atol=1e-5) for name in wanted)
    more = np.concatenate([data, data])
    found = run_onnx(onnx_bytes(net, dynamic_batch=True), {"data": more})
    assert np.allclose(found["ip"][2:], wanted["ip"], atol=1e-5)


def test_a_pytorch_module_has_the_weights_and_trains(make):
    torch = pytest.importorskip("torch")
    net = make(WHOLE)
    module = caffe.to_torch(net)
    weights = dict(module.named_parameters())
    assert set(weights) == {"conv/0", "conv/1", "ip/0", "ip/1"}
    assert np.array_equal(weights["conv/0"].detach().numpy(), net.params["conv"][0].data)
    module.train()
    before = module.state_dict()["ip/0"].clone()
    out = module(torch.from_numpy(np.array(net.blobs["data"].data)))
    torch.nn.functional.cross_entropy(out["ip"], torch.tensor([0, 1])).backward()
    torch.optim.SGD(module.parameters(), 0.1).step()
    assert not torch.equal(before, module.state_dict()["ip/0"])
    assert not np.array_equal(weights["ip/0"].detach().numpy(), net.params["ip"][0].data)
    with pytest.raises(caffe.ConfigError, match="the module takes data"):
        module()


@pytest.mark.parametrize(
    ("text", "boxes", "given", "nothing"),
    [(DEPLOY_SSD, "found", "data", 0), (DEPLOY_RCNN, "rois", "im_info", 3)],
    ids=["SSD", "Faster R-CNN"],
)
def test_nets_that_find_objects(text, boxes, given, nothing, tmp_path):
    pytest.importorskip("onnx")
    from pycaffe_clr.export.onnx_file import onnx_bytes

    (tmp_path / "net.prototxt").write_text(text)
    net = caffe.Net(tmp_path / "net.prototxt", caffe.TEST)
    fill_detector(net, random := np.random.default_rng(3))
    model = onnx_bytes(net)
    numbers = []
    for picture in range(3):
        net.blobs["data"].data[...] = random.standard_normal(net.blobs["data"].shape)
        if picture == 2:
            net.blobs[given].data[...] = nothing
        net.forward()
        assert_equal(net, run_onnx(model, inputs_of(net)))
        numbers.append(net.blobs[boxes].data.size // net.blobs[boxes].shape[-1])
    assert numbers[0] != numbers[1] and min(numbers[:2]) > 8 and numbers[2] == 1
    with pytest.raises(caffe.ConfigError, match="one sample at a time"):
        onnx_bytes(net, dynamic_batch=True)


@pytest.mark.parametrize("text", [DEPLOY_SSD, DEPLOY_RCNN])
def test_nets_that_find_objects_as_modules(text, tmp_path):
    torch = pytest.importorskip("torch")
    (tmp_path / "net.prototxt").write_text(text)
    net = caffe.Net(tmp_path / "net.prototxt", caffe.TEST)
    fill_detector(net, np.random.default_rng(3))
    net.forward()
    found = caffe.to_torch(net).eval()(
        **{name: torch.from_numpy(values) for name, values in inputs_of(net).items()}
    )
    found = found if isinstance(found, dict) else {net.outputs[0]: found}
    assert_equal(net, {name: values.detach().numpy() for name, values in found.items()})


def test_what_cannot_be_exported_is_told(make):
    pooled = """layer { name: "a" type: "Input" top: "a" input_param { shape { dim: 2 dim: 3 } } }
    layer { name: "p" type: "Pooling" bottom: "x" top: "y"
      pooling_param { kernel_size: 2 stride: 3 } }"""
    outside = pooled.replace("dim: 2 dim: 3", "dim: 1 dim: 2 dim: 9 dim: 9").replace('"x"', '"a"')
    with pytest.raises(caffe.ConfigError, match=r"layer 'p' \(Pooling\): a pooling window lies"):
        graph_of(make(outside))
    loss = """layer { name: "a" type: "Input" top: "a" input_param { shape { dim: 2 dim: 3 } } }
    layer { name: "s" type: "Silence" bottom: "a" }"""
    with pytest.raises(caffe.ConfigError, match="nothing is left"):
        graph_of(make(loss))


def test_the_command_writes_a_file(make, tmp_path, capsys):
    pytest.importorskip("onnx")
    net = make(WHOLE)
    net.save(tmp_path / "w.caffemodel")
    words = [str(tmp_path / name) for name in ("net.prototxt", "w.caffemodel", "out.onnx")]
    assert cli.main(["export", *words]) == 0
    said = capsys.readouterr()
    assert "left out: layer 'loss'" in said.err and said.out.endswith("out.onnx\n")
    found = run_onnx((tmp_path / "out.onnx").read_bytes(), {"data": net.blobs["data"].data})
    assert np.allclose(found["ip"], net.blobs["ip"].data, atol=1e-5)


def test_without_the_packages_the_remedy_is_told(make, monkeypatch):
    import sys

    from pycaffe_clr.export.onnx_file import onnx_bytes

    net = make(WHOLE)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(caffe.ConfigError, match=r"pip install 'pycaffe_clr\[onnx\]'"):
        onnx_bytes(net)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "pycaffe_clr.export.torch_module", raising=False)
    monkeypatch.delitem(sys.modules, "pycaffe_clr.export.torch_ops", raising=False)
    with pytest.raises(caffe.ConfigError, match="pip install torch"):
        caffe.to_torch(net)


def test_every_layer_of_a_shipped_net_can_be_exported():
    param = read_net(find_net("resnet56"))
    assert {layer.type for layer in param.layer} <= {*LAYERS, "Data", "SoftmaxWithLoss", "Accuracy"}
