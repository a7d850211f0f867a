"""The benchmarked nets as prototxt, with their solver and, where asked for, a small LMDB.

LeNet and ResNet-56 are written here and those of Caffe's model zoo in caffe_zoo.py, so that the
timed net is the same whatever a user changes in prototxt/; the others are those that ship, cut down
to what their loss needs. `feed` says where the pictures come from: 'data' is a Data layer that
reads an LMDB, transform included; 'dummy' is a DummyData layer, which draws new uniform numbers in
every step, and what the sequences of the LSTM come from in any case.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import caffe_zoo
import numpy as np
from caffe_text import conv_bn, convolution, dummy, inner_product, layer, relu

Shape = tuple[int, ...]


def lenet() -> str:
    """Caffe's LeNet behind a blob 'data'."""
    pool = "pooling_param { pool: MAX kernel_size: 2 stride: 2 }"
    return (
        convolution("conv1", "data", 20, 5, 1, 0)
        + layer("Pooling", "pool1", ["conv1"], "pool1", pool)
        + convolution("conv2", "pool1", 50, 5, 1, 0)
        + layer("Pooling", "pool2", ["conv2"], "pool2", pool)
        + inner_product("ip1", "pool2", 500)
        + relu("ip1")
        + inner_product("ip2", "ip1", 10)
        + layer("SoftmaxWithLoss", "loss", ["ip2", "label"], "loss")
    )


def resnet56() -> str:
    """The report's ResNet-56 behind a blob 'data'; no ReLU after the sums, biases everywhere."""
    text = conv_bn("first", "data", 16, 3, 1, 1) + relu("first")
    bottom = "first"
    for group, channels in enumerate((16, 32, 64)):
        for block in range(8 if group == 2 else 9):
            widen = block == 8
            outputs, stride = (2 * channels, 2) if widen else (channels, 1)
            name = f"g{group}_b{block}"
            text += conv_bn(f"{name}_conv0", bottom, outputs, 3, stride, 1)
            text += relu(f"{name}_conv0")
            text += conv_bn(f"{name}_conv1", f"{name}_conv0", outputs, 3, 1, 1)
            shortcut = bottom
            if widen:
                text += conv_bn(f"{name}_proj", bottom, outputs, 2, 2, 0)
                shortcut = f"{name}_proj"
            text += layer("Eltwise", f"{name}_sum", [f"{name}_conv1", shortcut], f"{name}_sum")
            bottom = f"{name}_sum"
    pool = "pooling_param { pool: AVE global_pooling: true }"
    return (
        text
        + layer("Pooling", "post_pool", [bottom], "post_pool", pool)
        + inner_product("post_FC", "post_pool", 10)
        + layer("SoftmaxWithLoss", "loss", ["post_FC", "label"], "loss")
    )


def shipped(name: str) -> str:
    """The layers of a shipped net that its training loss needs, behind blobs 'data' and 'label'."""
    from pycaffe_clr import catalog, proto
    from pycaffe_clr.prototxt import filter_net, format_message, read_net

    net = filter_net(read_net(catalog.find_net(name)), proto.NetState(phase=proto.TRAIN))
    data = next(layer for layer in net.layer if layer.type == "Data")
    kept: list[object] = []
    needed: set[str] = set()
    for each in reversed(net.layer):
        if each.type == "SoftmaxWithLoss" or needed.intersection(each.top):
            needed.update(each.bottom)
            if each is not data:
                kept.insert(0, each)
    names = dict(zip(data.top, ("data", "label"), strict=True))
    cut = proto.NetParameter()
    cut.layer.extend(kept)
    for each in cut.layer:
        each.bottom[:] = [names.get(blob, blob) for blob in each.bottom]
    return str(format_message(cut))


NETS: dict[str, Callable[[], str]] = {"lenet": lenet, "resnet56": resnet56, **caffe_zoo.NETS}
NETS |= {name: partial(shipped, name) for name in ("cifar3", "wide32", "densenet40", "resnet50")}
# What the report's nets do to their pictures beside scaling them.
TRANSFORMS = {
    "resnet56": "mirror: true",
    "wide32": "mirror: true",
    "densenet40": "mirror: true",
    "resnet50": "mirror: true crop_size: 230",
    "alexnet": "mirror: true crop_size: 227",
    "googlenet": "mirror: true crop_size: 224",
}


def write_records(folder: Path, shape: tuple[int, int, int], count: int) -> None:
    """An LMDB of `count` random pictures (C, H, W) and labels."""
    import lmdb

    from pycaffe_clr import proto

    random = np.random.default_rng(1)
    channels, height, width = shape
    with (
        lmdb.open(str(folder), map_size=1 << 30) as environment,
        environment.begin(write=True) as transaction,
    ):
        for i in range(count):
            datum = proto.Datum(channels=channels, height=height, width=width, label=i % 10)
            datum.data = random.integers(0, 256, shape, np.uint8).tobytes()
            transaction.put(b"%08d" % i, datum.SerializeToString())


def source(folder: Path, net: str, shape: Shape, feed: str) -> str:
    """The layers that make the blobs 'data' and 'label'; of sequences also 'cont'."""
    # A sequence's labels, one a step, or a picture's.
    labels = shape[:2] if net == "lstm" else shape[:1]
    numbers = [("data", shape, 'type: "uniform"'), ("label", labels, 'type: "constant"')]
    if net == "lstm":
        steps, batch = labels
        numbers.append(("first", (1, batch), 'type: "constant"'))
        numbers.append(("rest", (steps - 1, batch), 'type: "constant" value: 1'))
        return dummy(numbers) + layer(
            "Concat", "cont", ["first", "rest"], "cont", "concat_param { axis: 0 }"
        )
    if feed == "dummy":
        return dummy(numbers)
    records = folder / "records_lmdb"
    # Pictures of ImageNet are cropped from 256 x 256; few of them are as many bytes.
    if "crop_size" in TRANSFORMS.get(net, ""):
        write_records(records, (shape[1], 256, 256), 64)
    else:
        write_records(records, shape[1:], 2048)
    return (
        'layer { name: "data" type: "Data" top: "data" top: "label" '
        f"transform_param {{ scale: 0.00390625 {TRANSFORMS.get(net, '')} }} "
        f'data_param {{ source: "{records}" batch_size: {shape[0]} backend: LMDB }} }}\n'
    )


def write_solver(
    folder: Path, net: str, shape: Shape, feed: str, lr: float, momentum: float, decay: float
) -> Path:
    """Write net.prototxt and solver.prototxt into `folder`; the solver's path."""
    text = f'name: "{net}"\n' + source(folder, net, shape, feed) + NETS[net]()
    (folder / "net.prototxt").write_text(text)
    solver = folder / "solver.prototxt"
    solver.write_text(
        f'net: "{folder / "net.prototxt"}"\ntype: "SGD"\nlr_policy: "fixed"\nbase_lr: {lr}\n'
        f"momentum: {momentum}\nweight_decay: {decay}\nmax_iter: 1000000\ndisplay: 0\n"
        f'random_seed: 1\nsnapshot_prefix: "{folder / "snapshot"}"\nsolver_mode: CPU\n'
    )
    return solver
