"""The nets of caffe_zoo.py in PyTorch: the same layers, parameters and order."""

from __future__ import annotations

import torch
from caffe_zoo import INCEPTIONS
from torch import nn
from torch.nn import functional as F


def lrn(x: torch.Tensor) -> torch.Tensor:
    """Caffe's LRN across five channels."""
    return F.local_response_norm(x, 5, 1e-4, 0.75, 1.0)


def max_3_2(x: torch.Tensor) -> torch.Tensor:
    """Caffe's pooling rounds up."""
    return F.max_pool2d(x, 3, 2, ceil_mode=True)


def conv(c_in: int, c_out: int, kernel: int, **settings: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c_in, c_out, kernel, **settings), nn.ReLU(inplace=True))


class AlexNet(nn.Module):
    """(N, 3, 227, 227) to (N, 1000)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = conv(3, 96, 11, stride=4)
        self.conv2 = conv(96, 256, 5, padding=2, groups=2)
        self.conv3 = conv(256, 384, 3, padding=1)
        self.conv4 = conv(384, 384, 3, padding=1, groups=2)
        self.conv5 = conv(384, 256, 3, padding=1, groups=2)
        self.fc6 = nn.Linear(256 * 6 * 6, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = max_3_2(lrn(self.conv1(x)))
        x = max_3_2(lrn(self.conv2(x)))
        x = max_3_2(self.conv5(self.conv4(self.conv3(x)))).flatten(1)
        x = F.dropout(F.relu(self.fc6(x), inplace=True), 0.5, self.training)
        x = F.dropout(F.relu(self.fc7(x), inplace=True), 0.5, self.training)
        return self.fc8(x)


class Inception(nn.Module):
    """Four branches; `outputs` as in INCEPTIONS."""

    def __init__(self, c_in: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        one, reduce3, three, reduce5, five, behind_pool = outputs
        self.one = conv(c_in, one, 1)
        self.three = nn.Sequential(conv(c_in, reduce3, 1), conv(reduce3, three, 3, padding=1))
        self.five = nn.Sequential(conv(c_in, reduce5, 1), conv(reduce5, five, 5, padding=2))
        self.behind_pool = conv(c_in, behind_pool, 1)
        self.channels = one + three + five + behind_pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pool = F.max_pool2d(x, 3, 1, 1)
        return torch.cat((self.one(x), self.three(x), self.five(x), self.behind_pool(pool)), 1)


class Auxiliary(nn.Module):
    """A classifier halfway."""

    def __init__(self, c_in: int) -> None:
        super().__init__()
        self.conv = conv(c_in, 128, 1)
        self.fc = nn.Linear(128 * 4 * 4, 1024)
        self.classifier = nn.Linear(1024, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(F.avg_pool2d(x, 5, 3)).flatten(1)
        x = F.dropout(F.relu(self.fc(x), inplace=True), 0.7, self.training)
        return self.classifier(x)


class GoogLeNet(nn.Module):
    """(N, 3, 224, 224) to (N, 1000); in training those of both auxiliary classifiers first."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = conv(3, 64, 7, stride=2, padding=3)
        self.conv2_reduce = conv(64, 64, 1)
        self.conv2 = conv(64, 192, 3, padding=1)
        self.stages = nn.ModuleDict()
        channels = 192
        for name, outputs in INCEPTIONS.items():
            stage = Inception(channels, outputs)
            channels = stage.channels
            self.stages[name] = stage
            if name in ("4a", "4d"):
                self.stages[f"aux{name}"] = Auxiliary(channels)
        self.classifier = nn.Linear(channels, 1000)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x = self.conv2_reduce(lrn(max_3_2(self.conv1(x))))
        x = max_3_2(lrn(self.conv2(x)))
        scores = []
        for name in INCEPTIONS:
            x = self.stages[name](x)
            if self.training and name in ("4a", "4d"):
                scores.append(self.stages[f"aux{name}"](x))
            if name in ("3b", "4e"):
                x = max_3_2(x)
        x = F.dropout(F.avg_pool2d(x, 7, 1).flatten(1), 0.4, self.training)
        return [*scores, self.classifier(x)]


class Lstm(nn.Module):
    """(T, N, 1000) to (T N, 10). All sequences begin with the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1000, 1000)
        self.scores = nn.Linear(1000, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scores(self.lstm(x)[0].flatten(0, 1))

    def take(self, parameters: list[torch.Tensor]) -> None:
        """Caffe's parameters: W_xc, b_c, W_hc, then those of the scores. Its gates stand in the
        order input, forget, output, candidate; here the candidate comes before the output, and
        there are two biases."""
        gates = [part for i in (0, 1, 3, 2) for part in range(1000 * i, 1000 * (i + 1))]
        inputs, bias, hidden = (each[gates] for each in parameters[:3])
        values = [inputs, hidden, bias, torch.zeros_like(bias), *parameters[3:]]
        for mine, value in zip(self.parameters(), values, strict=True):
            mine.copy_(value)


NETS = {"alexnet": AlexNet, "googlenet": GoogLeNet, "lstm": Lstm}
