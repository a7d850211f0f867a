"""The two small nets without BatchNorm: Caffe's LeNet and the report's 3-layer net."""

from __future__ import annotations

from typing import Any

from .writer import AVE, MAX, TEST, WITHIN_CHANNEL, Dataset, Net

CONSTANT = {"type": "constant"}
XAVIER = {"type": "xavier"}
RATES = [{"lr_mult": 1}, {"lr_mult": 2}]


def lenet(dataset: Dataset, train_batch: int = 512, test_batch: int = 100) -> Net:
    """LeNet as Caffe's lenet_train_test.prototxt has it. Report, section 5.3: total batch 512."""
    net = Net("LeNet")
    net.data("mnist", "data", dataset, train_batch, test_batch)

    def learnt(num_output: int, **shape: int) -> dict[str, Any]:
        fillers = {"weight_filler": XAVIER, "bias_filler": CONSTANT}
        return {"num_output": num_output} | shape | fillers

    pool = {"pool": MAX, "kernel_size": 2, "stride": 2}
    top = "data"
    for number, channels in ((1, 20), (2, 50)):
        conv = learnt(channels, kernel_size=5, stride=1)
        top = net.add("Convolution", f"conv{number}", top, param=RATES, convolution_param=conv)
        top = net.add("Pooling", f"pool{number}", top, pooling_param=pool)
    top = net.add("InnerProduct", "ip1", top, param=RATES, inner_product_param=learnt(500))
    net.add("ReLU", "relu1", top, top)
    classes = learnt(dataset.classes)
    top = net.add("InnerProduct", "ip2", top, param=RATES, inner_product_param=classes)
    net.add("Accuracy", "accuracy", [top, "label"], include={"phase": TEST})
    net.add("SoftmaxWithLoss", "loss", [top, "label"])
    return net


def cifar3(dataset: Dataset, train_batch: int = 128, test_batch: int = 100) -> Net:
    """The report's shallow, 3-layer net: Caffe's cifar10_full with ReLU after the first pool."""
    net = Net("CIFAR10_full")
    net.data("cifar", "data", dataset, train_batch, test_batch)

    def conv(num_output: int, std: float) -> dict[str, Any]:
        return {
            "num_output": num_output,
            "pad": 2,
            "kernel_size": 5,
            "stride": 1,
            "weight_filler": {"type": "gaussian", "std": std},
            "bias_filler": CONSTANT,
        }

    def pool(method: str) -> dict[str, Any]:
        return {"pool": method, "kernel_size": 3, "stride": 2}

    norm = {"local_size": 3, "alpha": 5e-05, "beta": 0.75, "norm_region": WITHIN_CHANNEL}
    net.add("Convolution", "conv1", "data", param=RATES, convolution_param=conv(32, 0.0001))
    net.add("Pooling", "pool1", "conv1", pooling_param=pool(MAX))
    net.add("ReLU", "relu1", "pool1", "pool1")
    net.add("LRN", "norm1", "pool1", lrn_param=norm)
    net.add("Convolution", "conv2", "norm1", param=RATES, convolution_param=conv(32, 0.01))
    net.add("ReLU", "relu2", "conv2", "conv2")
    net.add("Pooling", "pool2", "conv2", pooling_param=pool(AVE))
    net.add("LRN", "norm2", "pool2", lrn_param=norm)
    # As in the original, conv3 has no multipliers: its bias learns at the rate of its weights.
    net.add("Convolution", "conv3", "norm2", convolution_param=conv(64, 0.01))
    net.add("ReLU", "relu3", "conv3", "conv3")
    net.add("Pooling", "pool3", "conv3", pooling_param=pool(AVE))
    net.add(
        "InnerProduct",
        "ip1",
        "pool3",
        param=[{"lr_mult": 1, "decay_mult": 250}, {"lr_mult": 2, "decay_mult": 0}],
        inner_product_param={
            "num_output": dataset.classes,
            "weight_filler": {"type": "gaussian", "std": 0.01},
            "bias_filler": CONSTANT,
        },
    )
    net.add("Accuracy", "accuracy", ["ip1", "label"])
    net.add("SoftmaxWithLoss", "loss", ["ip1", "label"])
    return net
