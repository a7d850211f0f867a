"""The report's BatchNorm nets for small images: ResNet-56, wide ResNet-32, DenseNet-40.

Layer names, in-place tops and the odd places (ResNet-56 changes resolution in the last block of a
group, wide-32 numbers its last block 8) are those of the author's files, so that weights and logs
can be exchanged.
"""

from __future__ import annotations

from typing import Any

from .writer import AVE, BIAS, STATISTIC, SUM, WEIGHT, Dataset, Net

CONSTANT = {"type": "constant"}
MSRA = {"type": "msra"}
SCALE_FILLERS = {"filler": {"value": 1}, "bias_term": True, "bias_filler": {"value": 0}}


def batch_norm(net: Net, name: str, bottom: str, top: str, fraction: float) -> str:
    """BatchNorm; fraction: share of the running statistics that each batch keeps."""
    param = {"moving_average_fraction": fraction}
    return net.add("BatchNorm", name, bottom, top, param=[STATISTIC] * 3, batch_norm_param=param)


def classifier(net: Net, names: tuple[str, str, str, str], bottom: str, classes: int) -> None:
    """Global pooling, InnerProduct, loss, and accuracy on a softmax: the ResNets' common end.

    names: of the pooling layer, the InnerProduct and its top, and the accuracy.
    """
    pool, fc, fc_top, accuracy = names
    net.add("Pooling", pool, bottom, pooling_param={"pool": AVE, "global_pooling": True})
    weights = {
        "num_output": classes,
        "weight_filler": MSRA,
        "bias_filler": {"type": "constant", "value": 0},
    }
    net.add("InnerProduct", fc, pool, fc_top, param=[WEIGHT, BIAS], inner_product_param=weights)
    net.add("SoftmaxWithLoss", "loss", [fc_top, "label"])
    net.add("Softmax", "softmax", fc_top)
    net.add("Accuracy", accuracy, ["softmax", "label"])


def resnet56(dataset: Dataset, train_batch: int = 128, test_batch: int = 32) -> Net:
    """ResNet-56 as the report ran it (gResnet56, c100Resnet56). Report, sections 4 and 5.4."""
    net = Net("Cifar-Resnet")
    net.data("dataLayer", "data_top", dataset, train_batch, test_batch)

    def conv_bn(name: str, bottom: str, channels: int, relu: bool, **shape: int) -> str:
        shape = {"pad": 1, "kernel_size": 3, "stride": 1} | shape
        conv = {"num_output": channels} | shape
        conv |= {"weight_filler": MSRA, "bias_filler": CONSTANT}
        top = net.add("Convolution", name, bottom, f"{name}_conv_top", convolution_param=conv)
        batch_norm(net, f"{name}_bn", top, top, 0.9)
        net.add("Scale", f"{name}_scale", top, top, scale_param=SCALE_FILLERS)
        if relu:
            net.add("ReLU", f"{name}_relu", top, top)
        return top

    channels = 16
    top = conv_bn("first", "data_top", channels, relu=True)
    for group, blocks in enumerate((9, 9, 8)):
        for block in range(blocks):
            name = f"group{group}_block{block}"
            halves = block == 8  # the last block of a group opens the next resolution
            channels *= 2 if halves else 1
            stride = 2 if halves else 1
            inner = conv_bn(f"{name}_conv0", top, channels, relu=True, stride=stride)
            inner = conv_bn(f"{name}_conv1", inner, channels, relu=False)
            if halves:
                shape = {"pad": 0, "kernel_size": 2, "stride": 2}
                top = conv_bn(f"{name}_proj", top, channels, relu=False, **shape)
            total = f"{name}_sum_eltwise"
            summed = {"operation": SUM}
            top = net.add("Eltwise", total, [inner, top], f"{total}_top", eltwise_param=summed)
    classifier(net, ("post_pool", "post_FC", "post_FC_top", "accuracy"), top, dataset.classes)
    return net


def wide32(dataset: Dataset, train_batch: int = 128, test_batch: int = 32) -> Net:
    """Wide ResNet-32: channels times 4 at each change of resolution. Report, section 5.1."""
    net = Net("widenet32 with k=4-cifar10")
    net.data("dataLayer", "data", dataset, train_batch, test_batch)

    def conv_bn(name: str, bottom: str, channels: int, relu: bool, **shape: int) -> str:
        shape = {"pad": 1, "kernel_size": 3, "stride": 1} | shape
        conv = {"num_output": channels} | shape | {"weight_filler": MSRA}
        top = net.add("Convolution", name, bottom, param=[WEIGHT], convolution_param=conv)
        batch_norm(net, f"{name}_bn", top, top, 0.9)
        net.add("Scale", f"{name}_scale", top, top, scale_param={"bias_term": True})
        if relu:
            net.add("ReLU", f"{name}_relu", top, top)
        return top

    top = conv_bn("first_conv", "data", 16, relu=True)
    for group, channels in enumerate((16, 64, 256)):
        for block in (0, 1, 2, 3, 8):
            name = f"group{group}_block{block}"
            opens = group > 0 and block == 0
            stride = 2 if opens else 1
            inner = conv_bn(f"{name}_conv0", top, channels, relu=True, stride=stride)
            inner = conv_bn(f"{name}_conv1", inner, channels, relu=False)
            terms = [inner, top]
            if opens:
                shape = {"pad": 0, "kernel_size": 2, "stride": 2}
                terms = [conv_bn(f"{name}_proj", top, channels, relu=False, **shape), inner]
            top = net.add("Eltwise", f"{name}_sum", terms, eltwise_param={"operation": SUM})
    classifier(net, ("global_avg_pool", "fc", "fc", "Accuracy"), top, dataset.classes)
    return net


def densenet40(dataset: Dataset, train_batch: int = 128, test_batch: int = 37) -> Net:
    """DenseNet-40 with growth 12 and dropout 0.2. Report, section 5.2."""
    growth, depth = 12, 12
    net = Net("Cifar-Densenet")
    net.data("dataLayer", "data_top", dataset, train_batch, test_batch)

    def convolution(channels: int, pad: int, kernel: int) -> dict[str, Any]:
        # The bias filler has no bias to fill; it stands in the original.
        shape = {"pad": pad, "bias_term": False, "kernel_size": kernel, "stride": 1}
        return {"num_output": channels} | shape | {"weight_filler": MSRA, "bias_filler": CONSTANT}

    def norm_relu(name: str, bottom: str) -> str:
        top = batch_norm(net, f"{name}_bn", bottom, f"{name}_bn_top", 0.999)
        net.add("Scale", f"{name}_scale", top, top, scale_param=SCALE_FILLERS)
        return net.add("ReLU", f"{name}_relu", top, top)

    def conv_dropout(name: str, bottom: str, channels: int, pad: int, kernel: int) -> str:
        conv = convolution(channels, pad, kernel)
        top = f"{name}_conv_top"
        net.add("Convolution", f"{name}_conv", bottom, top, convolution_param=conv)
        return net.add("Dropout", f"{name}_dropout", top, dropout_param={"dropout_ratio": 0.2})

    channels = 16
    top = "pre_conv_top"
    net.add("Convolution", "pre_conv", "data_top", top, convolution_param=convolution(16, 1, 3))
    for group in range(3):
        for block in range(depth):
            name = f"group{group}_b{block}"
            new = conv_dropout(name, norm_relu(name, top), growth, pad=1, kernel=3)
            top = net.add("Concat", f"{name}_concat", [new, top], concat_param={"axis": 1})
            channels += growth
        name = f"group{group}_b{depth}"
        top = norm_relu(name, top)
        pool: dict[str, Any] = {"pool": AVE, "global_pooling": True}
        if group < 2:  # transition to the next resolution
            top = conv_dropout(name, top, channels, pad=0, kernel=1)
            pool = {"pool": AVE, "kernel_size": 2, "stride": 2}
        top = net.add("Pooling", f"{name}_pool", top, pooling_param=pool)
    weights = {
        "num_output": dataset.classes,
        "weight_filler": {"type": "xavier"},
        "bias_filler": CONSTANT,
    }
    rates = [{"lr_mult": 1}, {"lr_mult": 2}]
    net.add("InnerProduct", "post_FC", top, "post_FC_top", param=rates, inner_product_param=weights)
    net.add("Accuracy", "accuracy", ["post_FC_top", "label"])
    net.add("SoftmaxWithLoss", "loss", ["post_FC_top", "label"])
    return net
