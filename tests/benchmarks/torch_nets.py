"""The benchmarked nets in PyTorch: the same layers, parameters and order as the prototxt files."""

from __future__ import annotations

import torch
import torch_zoo
from torch import nn
from torch.nn import functional as F


class LeNet(nn.Module):
    """Caffe's LeNet: (N, 1, 28, 28) to (N, 10). No ReLU after the convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.ip1 = nn.Linear(800, 500)
        self.ip2 = nn.Linear(500, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(self.conv1(x), 2)
        x = F.max_pool2d(self.conv2(x), 2)
        return self.ip2(F.relu(self.ip1(x.flatten(1))))


def conv_bn(c_in: int, c_out: int, kernel: int, stride: int, pad: int) -> nn.Sequential:
    """Convolution with a bias, as in the original, then BatchNorm and Scale."""
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel, stride, pad), nn.BatchNorm2d(c_out, eps=1e-5)
    )


class Block(nn.Module):
    """A residual block of the report's net: no ReLU after the sum.

    At stride 2 the shortcut is a 2x2 convolution of stride 2 with its own BatchNorm.
    """

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv0 = conv_bn(c_in, c_out, 3, stride, 1)
        self.conv1 = conv_bn(c_out, c_out, 3, 1, 1)
        self.proj = conv_bn(c_in, c_out, 2, 2, 0) if stride == 2 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.conv0(x), inplace=True)
        return self.conv1(y).add_(self.proj(x))


class ResNet56(nn.Module):
    """genResnet56.prototxt: (N, 3, 32, 32) to (N, 10); 55 convolutions, 26 blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.first = conv_bn(3, 16, 3, 1, 1)
        plan = [(16, 16, 1)] * 8 + [(16, 32, 2)] + [(32, 32, 1)] * 8 + [(32, 64, 2)]
        plan += [(64, 64, 1)] * 8
        self.blocks = nn.Sequential(*(Block(*settings) for settings in plan))
        self.fc = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.first(x), inplace=True)
        return self.fc(self.blocks(x).mean((2, 3)))


def lrn_within(x: torch.Tensor) -> torch.Tensor:
    """Caffe's LRN within channel over 3 x 3 with the report's alpha and beta; Caffe ignores k."""
    mean = F.avg_pool2d(x * x, 3, 1, 1)
    return x * (1 + 5e-5 * mean).pow(-0.75)


class Cifar3(nn.Module):
    """cifar3.prototxt: (N, 3, 32, 32) to (N, 10). Pooling rounds up, as Caffe's."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 5, padding=2)
        self.conv2 = nn.Conv2d(32, 32, 5, padding=2)
        self.conv3 = nn.Conv2d(32, 64, 5, padding=2)
        self.fc = nn.Linear(64 * 4 * 4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = lrn_within(F.relu(F.max_pool2d(self.conv1(x), 3, 2, ceil_mode=True), inplace=True))
        x = F.avg_pool2d(F.relu(self.conv2(x), inplace=True), 3, 2, ceil_mode=True)
        x = F.relu(self.conv3(lrn_within(x)), inplace=True)
        return self.fc(F.avg_pool2d(x, 3, 2, ceil_mode=True).flatten(1))


class Wide32(nn.Module):
    """wide32.prototxt: (N, 3, 32, 32) to (N, 10); channels 16, 64, 256, five blocks each."""

    def __init__(self) -> None:
        super().__init__()
        self.first = conv_bn(3, 16, 3, 1, 1)
        blocks: list[nn.Module] = []
        channels = 16
        for width in (16, 64, 256):
            for block in range(5):
                stride = 2 if block == 0 and width > 16 else 1
                blocks.append(Block(channels, width, stride))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(256, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.first(x), inplace=True)
        return self.fc(self.blocks(x).mean((2, 3)))


class DenseLayer(nn.Module):
    """BatchNorm, ReLU, convolution without bias, dropout; its output stands before its input."""

    def __init__(self, c_in: int, c_out: int, kernel: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(c_in, eps=1e-5)
        self.conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False)
        self.concat = kernel == 3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.dropout(self.conv(F.relu(self.norm(x), inplace=True)), 0.2, self.training)
        return torch.cat((y, x), 1) if self.concat else F.avg_pool2d(y, 2)


class DenseNet40(nn.Module):
    """densenet40.prototxt: (N, 3, 32, 32) to (N, 10); growth 12, three groups of twelve."""

    def __init__(self) -> None:
        super().__init__()
        channels = 16
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1, bias=False)]
        for group in range(3):
            for _ in range(12):
                layers.append(DenseLayer(channels, 12, 3))
                channels += 12
            if group < 2:
                layers.append(DenseLayer(channels, channels, 1))
        self.layers = nn.Sequential(*layers)
        self.norm = nn.BatchNorm2d(channels, eps=1e-5)
        self.fc = nn.Linear(channels, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.layers(x)), inplace=True)
        return self.fc(x.mean((2, 3)))


class Bottleneck(nn.Module):
    """A block of ResNet-50; the stride is that of its first convolution, biases everywhere."""

    def __init__(self, c_in: int, inner: int, stride: int) -> None:
        super().__init__()
        outer = 4 * inner
        self.shortcut = nn.Identity() if c_in == outer else conv_bn(c_in, outer, 1, stride, 0)
        self.a = conv_bn(c_in, inner, 1, stride, 0)
        self.b = conv_bn(inner, inner, 3, 1, 1)
        self.c = conv_bn(inner, outer, 1, 1, 0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.a(x), inplace=True)
        y = F.relu(self.b(y), inplace=True)
        return F.relu(self.c(y).add_(self.shortcut(x)), inplace=True)


class ResNet50(nn.Module):
    """resnet50.prototxt: (N, 3, 230, 230) to (N, 1000); its last pooling leaves 2 x 2 places."""

    def __init__(self) -> None:
        super().__init__()
        self.first = conv_bn(3, 64, 7, 2, 3)
        blocks: list[nn.Module] = []
        channels = 64
        for stage, count in enumerate((3, 4, 6, 3)):
            inner = 64 << stage
            for block in range(count):
                blocks.append(Bottleneck(channels, inner, 2 if block == 0 and stage else 1))
                channels = 4 * inner
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(2 * 2 * channels, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.first(x), inplace=True)
        x = self.blocks(F.max_pool2d(x, 3, 2, ceil_mode=True))
        return self.fc(F.avg_pool2d(x, 7, 1).flatten(1))


NETS = {
    "lenet": LeNet,
    "cifar3": Cifar3,
    "resnet56": ResNet56,
    "wide32": Wide32,
    "densenet40": DenseNet40,
    "resnet50": ResNet50,
    **torch_zoo.NETS,
}


def loss(net: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """What is trained: the mean cross entropy; of auxiliary scores, where a net gives a list with
    its own at the end, 0.3 of theirs."""
    scores = net(x)
    heads = scores if isinstance(scores, list) else [scores]
    weights = [0.3] * (len(heads) - 1) + [1.0]
    losses = [w * F.cross_entropy(y, labels) for w, y in zip(weights, heads, strict=True)]
    return torch.stack(losses).sum() if len(losses) > 1 else losses[0]
