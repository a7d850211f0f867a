"""The benchmarked nets as prototxt, with their solver and, where asked for, a small LMDB.

LeNet and ResNet-56 are written here, so that the timed net is the same whatever a user changes in
prototxt/; the larger ones are those that ship, cut down to what their loss needs. `feed` says where
the pictures come from: 'data' is a Data layer that reads an LMDB, transform included; 'dummy' is a
DummyData layer, which draws new uniform numbers in every step.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

Shape = tuple[int, int, int, int]


def layer(type_: str, name: str, bottoms: list[str], top: str, body: str = "") -> str:
    """One layer as prototxt text."""
    ends = "".join(f' bottom: "{b}"' for b in bottoms)
    return f'layer {{ name: "{name}" type: "{type_}"{ends} top: "{top}" {body} }}\n'


def convolution(name: str, bottom: str, outputs: int, kernel: int, stride: int, pad: int) -> str:
    body = (
        f"convolution_param {{ num_output: {outputs} kernel_size: {kernel} stride: {stride} "
        f'pad: {pad} weight_filler {{ type: "msra" }} bias_filler {{ type: "constant" }} }}'
    )
    return layer("Convolution", name, [bottom], name, body)


def conv_bn(name: str, bottom: str, outputs: int, kernel: int, stride: int, pad: int) -> str:
    """Convolution, BatchNorm and Scale in place, as the author's generator writes them."""
    return (
        convolution(name, bottom, outputs, kernel, stride, pad)
        + layer("BatchNorm", f"{name}_bn", [name], name)
        + layer("Scale", f"{name}_scale", [name], name, "scale_param { bias_term: true }")
    )


def relu(blob: str) -> str:
    return layer("ReLU", f"{blob}_relu", [blob], blob)


def inner_product(name: str, bottom: str, outputs: int) -> str:
    body = (
        f"inner_product_param {{ num_output: {outputs} "
        'weight_filler { type: "xavier" } bias_filler { type: "constant" } }'
    )
    return layer("InnerProduct", name, [bottom], name, body)


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


NETS: dict[str, Callable[[], str]] = {"lenet": lenet, "resnet56": resnet56}
NETS |= {name: partial(shipped, name) for name in ("cifar3", "wide32", "densenet40", "resnet50")}
# What the report's nets do to their pictures beside scaling them.
TRANSFORMS = {
    "resnet56": "mirror: true",
    "wide32": "mirror: true",
    "densenet40": "mirror: true",
    "resnet50": "mirror: true crop_size: 230",
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
    """The layer that makes the blobs 'data' and 'label'."""
    if feed == "dummy":
        sizes = " ".join(f"dim: {n}" for n in shape)
        body = (
            f"dummy_data_param {{ shape {{ {sizes} }} shape {{ dim: {shape[0]} }} "
            'data_filler { type: "uniform" } data_filler { type: "constant" } }'
        )
        return 'layer { name: "data" type: "DummyData" top: "data" top: "label" ' + body + " }\n"
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
