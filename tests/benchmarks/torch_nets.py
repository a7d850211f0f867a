"""The benchmarked nets in PyTorch: the same layers, parameters and order as the prototxt files."""

from __future__ import annotations

import torch
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


NETS = {"lenet": LeNet, "resnet56": ResNet56}
