"""The report's nets for ImageNet, section 5.5: ResNet-50 and Inception-ResNet-v2."""

from __future__ import annotations

from typing import Any

from .writer import AVE, BIAS, MAX, SUM, TEST, WEIGHT, Dataset, Net

XAVIER = {"type": "xavier", "std": 0.01}
ZERO = {"type": "constant", "value": 0}
LIFTED = {"type": "constant", "value": 0.2}
MAX_POOL = {"pool": MAX, "kernel_size": 3, "stride": 2}


def classifier(net: Net, bottom: str, classes: int) -> None:
    """InnerProduct, loss, top-1 accuracy, and top-5 accuracy in tests."""
    weights = {
        "num_output": classes,
        "weight_filler": {"type": "xavier"},
        "bias_filler": ZERO,
    }
    net.add("InnerProduct", "classifier", bottom, param=[WEIGHT, BIAS], inner_product_param=weights)
    net.add("SoftmaxWithLoss", "loss", ["classifier", "label"])
    net.add("Accuracy", "accuracy_top1", ["classifier", "label"])
    top5 = {"include": {"phase": TEST}, "accuracy_param": {"top_k": 5}}
    net.add("Accuracy", "accuracy_top5", ["classifier", "label"], **top5)


def resnet50(dataset: Dataset, train_batch: int = 32, test_batch: int = 11) -> Net:
    """ResNet-50 as the report ran it."""
    net = Net("Resnet50-Imagenet")
    net.data("data", "data", dataset, train_batch, test_batch)

    def conv_bn(
        name: str,
        bottom: str,
        channels: int,
        kernel: int,
        stride: int = 1,
        relu: bool = True,
        bias: dict[str, Any] = ZERO,
    ) -> str:
        conv = {"num_output": channels, "kernel_size": kernel, "pad": kernel // 2}
        conv |= {"stride": stride, "weight_filler": XAVIER, "bias_filler": bias}
        net.add("Convolution", name, bottom, param=[WEIGHT, BIAS], convolution_param=conv)
        statistics = {"use_global_stats": False}  # batch statistics in tests, too
        net.add("BatchNorm", f"{name}_bn", name, name, batch_norm_param=statistics)
        net.add("Scale", f"{name}_scale", name, name, scale_param={"bias_term": True})
        if relu:
            net.add("ReLU", f"{name}_relu", name, name)
        return name

    top = conv_bn("conv1", "data", 64, 7, stride=2)
    top = net.add("Pooling", "pool1", top, pooling_param=MAX_POOL)
    for stage, blocks in ((2, 3), (3, 4), (4, 6), (5, 3)):
        inner = 64 * 2 ** (stage - 2)
        for block in range(blocks):
            name = f"res{stage}a" if block == 0 else f"res{stage}b{block}"
            stride = 2 if block == 0 and stage > 2 else 1
            shortcut = top
            if block == 0:
                outer = {"stride": stride, "relu": False, "bias": LIFTED}
                shortcut = conv_bn(f"{name}_branch1", top, 4 * inner, 1, **outer)
            branch = conv_bn(f"{name}_branch2a", top, inner, 1, stride=stride)
            branch = conv_bn(f"{name}_branch2b", branch, inner, 3)
            branch = conv_bn(f"{name}_branch2c", branch, 4 * inner, 1, relu=False, bias=LIFTED)
            summed = {"operation": SUM}
            top = net.add("Eltwise", name, [shortcut, branch], eltwise_param=summed)
            net.add("ReLU", f"{name}_relu", top, top)
    pool = {"pool": AVE, "kernel_size": 7, "stride": 1}
    top = net.add("Pooling", "pool5", top, pooling_param=pool)
    classifier(net, top, dataset.classes)
    return net


class InceptionResnetV2:
    """Inception-ResNet-v2 (Szegedy et al. 2017), built part by part as the author's file has it."""

    def __init__(self, dataset: Dataset, train_batch: int = 28, test_batch: int = 5) -> None:
        self.net = Net("inception-ResnetV2-Imagenet")
        self.net.data("data", "data", dataset, train_batch, test_batch)
        top = self.stem()
        for block in range(1, 11):
            top = self.block_a(f"inception_resnet_v2_a{block}", top)
        top = self.reduction_a(top)
        for block in range(1, 21):
            channels = (192, 128, 160, 192)
            top = self.block_bc(f"inception_resnet_v2_b{block}", top, 7, channels, 1088, 0.1)
        top = self.reduction_b(top)
        for block in range(1, 11):
            channels = (192, 192, 224, 256)
            # The last block adds its branch unscaled and without ReLU.
            factor = 0.2 if block < 10 else None
            top = self.block_bc(f"inception_resnet_v2_c{block}", top, 3, channels, 2080, factor)
        top = self.conv("conv6_1x1", top, 1536, 1)
        pool = {"pool": AVE, "global_pooling": True}
        top = self.net.add("Pooling", "pool_8x8_s1", top, pooling_param=pool)
        drop = {"dropout_ratio": 0.2}
        top = self.net.add("Dropout", "pool_8x8_s1_drop", top, dropout_param=drop)
        classifier(self.net, top, dataset.classes)

    def conv(
        self,
        name: str,
        bottom: str,
        channels: int,
        kernel: int | tuple[int, int],
        pad: int | None = None,
        stride: int = 1,
        relu: str = "",
    ) -> str:
        """Convolution without bias, BatchNorm, Scale, ReLU; pad None keeps the size.

        kernel: a side, or (height, width). relu: the name of the ReLU layer if it is not NAME_relu.
        """
        shape: dict[str, int]
        if isinstance(kernel, int):
            shape = {"kernel_size": kernel, "pad": kernel // 2 if pad is None else pad}
        else:
            height, width = kernel
            shape = {"kernel_h": height, "kernel_w": width}
            shape |= {"pad_h": height // 2, "pad_w": width // 2}
        conv = {"num_output": channels, "bias_term": False} | shape
        conv |= {"stride": stride, "weight_filler": XAVIER}
        self.net.add("Convolution", name, bottom, param=[WEIGHT], convolution_param=conv)
        # The author's first layer normalises by its running statistics, which never move from 0.
        first = name == "conv1_3x3_s2"
        norm = {"use_global_stats": True} if first else {"moving_average_fraction": 0.9}
        self.net.add("BatchNorm", f"{name}_bn", name, name, batch_norm_param=norm | {"eps": 0.001})
        self.net.add("Scale", f"{name}_scale", name, name, scale_param={"bias_term": True})
        self.net.add("ReLU", relu or f"{name}_relu", name, name)
        return name

    def concat(self, name: str, bottoms: list[str]) -> str:
        return self.net.add("Concat", name, bottoms)

    def stem(self) -> str:
        net = self.net
        top = self.conv("conv1_3x3_s2", "data", 32, 3, pad=0, stride=2, relu="conv1_3x3_relu")
        top = self.conv("conv2_3x3_s1", top, 32, 3, pad=0, relu="conv2_3x3_relu")
        top = self.conv("conv3_3x3_s1", top, 64, 3, relu="conv3_3x3_relu")
        top = net.add("Pooling", "pool1_3x3_s2", top, pooling_param=MAX_POOL)
        top = self.conv("conv4_3x3_reduce", top, 80, 1)
        top = self.conv("conv4_3x3", top, 192, 3, pad=0, relu="conv4_relu_3x3")
        top = net.add("Pooling", "pool2_3x3_s2", top, pooling_param=MAX_POOL)
        plain = self.conv("conv5_1x1", top, 96, 1)
        five = self.conv("conv5_5x5_reduce", top, 48, 1)
        five = self.conv("conv5_5x5", five, 64, 5)
        three = self.conv("conv5_3x3_reduce", top, 64, 1)
        three = self.conv("conv5_3x3", three, 96, 3)
        three = self.conv("conv5_3x3_2", three, 96, 3)
        pool = {"pool": AVE, "kernel_size": 3, "stride": 1, "pad": 1}
        average = net.add("Pooling", "ave_pool", top, pooling_param=pool)
        average = self.conv("conv5_1x1_ave", average, 64, 1)
        return self.concat("stem_concat", [plain, five, three, average])

    def residual(
        self, name: str, bottom: str, branch: str, channels: int, factor: float | None
    ) -> str:
        """bottom + factor * (1x1 convolution of branch), then ReLU; factor None: plain sum."""
        last = factor is None
        conv: dict[str, Any] = {"num_output": channels, "kernel_size": 1}
        if not last:
            conv |= {"pad": 0, "stride": 1}
        conv |= {"weight_filler": XAVIER, "bias_filler": LIFTED}
        up = f"{name}_up"
        self.net.add("Convolution", up, branch, param=[WEIGHT, BIAS], convolution_param=conv)
        summed: dict[str, Any] = {"operation": SUM}
        if not last:
            summed["coeff"] = [1, factor]
        total = f"{name}_residual_eltwise"
        self.net.add("Eltwise", total, [bottom, up], eltwise_param=summed)
        if not last:
            self.net.add("ReLU", f"{total}_relu", total, total)
        return total

    def block_a(self, name: str, bottom: str) -> str:
        one = self.conv(f"{name}_1x1", bottom, 32, 1)
        two = self.conv(f"{name}_3x3_reduce", bottom, 32, 1)
        two = self.conv(f"{name}_3x3", two, 32, 3)
        three = self.conv(f"{name}_3x3_2_reduce", bottom, 32, 1)
        three = self.conv(f"{name}_3x3_2", three, 48, 3)
        three = self.conv(f"{name}_3x3_3", three, 64, 3)
        branch = self.concat(f"{name}_concat", [one, two, three])
        return self.residual(name, bottom, branch, 320, 0.17)

    def block_bc(
        self,
        name: str,
        bottom: str,
        kernel: int,
        channels: tuple[int, int, int, int],
        up_channels: int,
        factor: float | None,
    ) -> str:
        """Blocks B and C: 1x1 beside 1x1, 1xk, kx1; channels of these four convolutions."""
        one = self.conv(f"{name}_1x1", bottom, channels[0], 1)
        two = self.conv(f"{name}_1x{kernel}_reduce", bottom, channels[1], 1)
        two = self.conv(f"{name}_1x{kernel}", two, channels[2], (1, kernel))
        two = self.conv(f"{name}_{kernel}x1", two, channels[3], (kernel, 1))
        branch = self.concat(f"{name}_concat", [one, two])
        return self.residual(name, bottom, branch, up_channels, factor)

    def reduction_a(self, bottom: str) -> str:
        one = self.conv("reduction_a_3x3", bottom, 384, 3, pad=0, stride=2)
        two = self.conv("reduction_a_3x3_2_reduce", bottom, 256, 1)
        two = self.conv("reduction_a_3x3_2", two, 256, 3)
        two = self.conv("reduction_a_3x3_3", two, 384, 3, pad=0, stride=2)
        pool = self.net.add("Pooling", "reduction_a_pool", bottom, pooling_param=MAX_POOL)
        return self.concat("reduction_a_concat", [one, two, pool])

    def reduction_b(self, bottom: str) -> str:
        one = self.conv("reduction_b_3x3_reduce", bottom, 256, 1)
        one = self.conv("reduction_b_3x3", one, 384, 3, pad=0, stride=2)
        two = self.conv("reduction_b_3x3_2_reduce", bottom, 256, 1)
        two = self.conv("reduction_b_3x3_2", two, 288, 3, pad=0, stride=2)
        three = self.conv("reduction_b_3x3_3_reduce", bottom, 256, 1)
        three = self.conv("reduction_b_3x3_3", three, 288, 3)
        three = self.conv("reduction_b_3x3_4", three, 320, 3, pad=0, stride=2)
        pool = self.net.add("Pooling", "reduction_b_pool", bottom, pooling_param=MAX_POOL)
        return self.concat("reduction_b_concat", [one, two, three, pool])


def inception_resnet_v2(dataset: Dataset) -> Net:
    """Inception-ResNet-v2 as the report ran it: batch 28 on each of 4 GPUs."""
    return InceptionResnetV2(dataset).net
