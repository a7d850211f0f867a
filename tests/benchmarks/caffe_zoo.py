"""Nets of Caffe's model zoo as prototxt, behind blobs 'data' and 'label': AlexNet, GoogLeNet with
its two auxiliary losses in TRAIN, and an LSTM of the size of LRCN's."""

from __future__ import annotations

from caffe_text import convolution, inner_product, layer, relu

MAX_3_2 = "pooling_param { pool: MAX kernel_size: 3 stride: 2 }"
LRN = "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }"


def conv_relu(name: str, bottom: str, outputs: int, kernel: int, **settings: int) -> str:
    """A convolution of stride 1 and no padding unless told, and ReLU in place."""
    return convolution(name, bottom, outputs, kernel, **settings) + relu(name)


def dropout(blob: str, ratio: float) -> str:
    return layer(
        "Dropout", f"{blob}_drop", [blob], blob, f"dropout_param {{ dropout_ratio: {ratio} }}"
    )


def loss(name: str, scores: str, body: str = "") -> str:
    return layer("SoftmaxWithLoss", name, [scores, "label"], name, body)


def alexnet() -> str:
    """BVLC's AlexNet: two groups in three convolutions, normalisation before pooling."""
    text = conv_relu("conv1", "data", 96, 11, stride=4)
    text += layer("LRN", "norm1", ["conv1"], "norm1", LRN)
    text += layer("Pooling", "pool1", ["norm1"], "pool1", MAX_3_2)
    text += conv_relu("conv2", "pool1", 256, 5, pad=2, group=2)
    text += layer("LRN", "norm2", ["conv2"], "norm2", LRN)
    text += layer("Pooling", "pool2", ["norm2"], "pool2", MAX_3_2)
    text += conv_relu("conv3", "pool2", 384, 3, pad=1)
    text += conv_relu("conv4", "conv3", 384, 3, pad=1, group=2)
    text += conv_relu("conv5", "conv4", 256, 3, pad=1, group=2)
    text += layer("Pooling", "pool5", ["conv5"], "pool5", MAX_3_2)
    for name, bottom in (("fc6", "pool5"), ("fc7", "fc6")):
        text += inner_product(name, bottom, 4096) + relu(name) + dropout(name, 0.5)
    return text + inner_product("fc8", "fc7", 1000) + loss("loss", "fc8")


# By inception: outputs of the 1x1, of the 3x3 (reduced, then full), the 5x5 and behind pooling.
INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def inception(name: str, bottom: str, outputs: tuple[int, ...]) -> str:
    """Four branches and their concatenation, `name`."""
    one, reduce3, three, reduce5, five, behind_pool = outputs
    pool = "pooling_param { pool: MAX kernel_size: 3 stride: 1 pad: 1 }"
    text = conv_relu(f"{name}_1x1", bottom, one, 1)
    text += conv_relu(f"{name}_3x3_reduce", bottom, reduce3, 1)
    text += conv_relu(f"{name}_3x3", f"{name}_3x3_reduce", three, 3, pad=1)
    text += conv_relu(f"{name}_5x5_reduce", bottom, reduce5, 1)
    text += conv_relu(f"{name}_5x5", f"{name}_5x5_reduce", five, 5, pad=2)
    text += layer("Pooling", f"{name}_pool", [bottom], f"{name}_pool", pool)
    text += conv_relu(f"{name}_pool_proj", f"{name}_pool", behind_pool, 1)
    branches = [f"{name}_{branch}" for branch in ("1x1", "3x3", "5x5", "pool_proj")]
    return text + layer("Concat", name, branches, name)


def auxiliary(name: str, bottom: str) -> str:
    """A classifier halfway, in TRAIN only, whose loss counts 0.3."""
    pool = "pooling_param { pool: AVE kernel_size: 5 stride: 3 }"
    text = layer("Pooling", f"{name}_pool", [bottom], f"{name}_pool", pool)
    text += conv_relu(f"{name}_conv", f"{name}_pool", 128, 1)
    text += inner_product(f"{name}_fc", f"{name}_conv", 1024)
    text += relu(f"{name}_fc") + dropout(f"{name}_fc", 0.7)
    text += inner_product(f"{name}_classifier", f"{name}_fc", 1000)
    text += loss(f"{name}_loss", f"{name}_classifier", "loss_weight: 0.3")
    return text.replace("layer {", "layer { include { phase: TRAIN }")


def googlenet() -> str:
    """BVLC's GoogLeNet."""
    text = conv_relu("conv1", "data", 64, 7, stride=2, pad=3)
    text += layer("Pooling", "pool1", ["conv1"], "pool1", MAX_3_2)
    text += layer("LRN", "norm1", ["pool1"], "norm1", LRN)
    text += conv_relu("conv2_reduce", "norm1", 64, 1)
    text += conv_relu("conv2", "conv2_reduce", 192, 3, pad=1)
    text += layer("LRN", "norm2", ["conv2"], "norm2", LRN)
    text += layer("Pooling", "pool2", ["norm2"], "pool2", MAX_3_2)
    bottom = "pool2"
    for name, outputs in INCEPTIONS.items():
        text += inception(name, bottom, outputs)
        bottom = name
        if name in ("4a", "4d"):
            text += auxiliary(f"aux{name}", name)
        if name in ("3b", "4e"):
            text += layer("Pooling", f"{name}_last", [name], f"{name}_last", MAX_3_2)
            bottom = f"{name}_last"
    text += layer(
        "Pooling",
        "pool5",
        [bottom],
        "pool5",
        "pooling_param { pool: AVE kernel_size: 7 stride: 1 }",
    )
    text += dropout("pool5", 0.4)
    return text + inner_product("classifier", "pool5", 1000) + loss("loss", "classifier")


def lstm() -> str:
    """1000 units and 10 scores a step, behind 'data' (T, N, D), and 'cont' and 'label' (T, N)."""
    units = 'num_output: 1000 weight_filler { type: "xavier" }'
    text = layer("LSTM", "lstm", ["data", "cont"], "lstm", f"recurrent_param {{ {units} }}")
    text += inner_product("scores", "lstm", 10, "axis: 2")
    return text + loss("loss", "scores", "softmax_param { axis: 2 }")


NETS = {"alexnet": alexnet, "googlenet": googlenet, "lstm": lstm}
