"""A net and a solver to begin with, for pictures of any size and number of classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_BATCH, _LEAST_BATCH = 64, 8
_EPOCHS = 30
_WIDTHS = (32, 64, 128, 256, 256)
# Stages halve the picture until its shorter side is at most this.
_LAST_SIDE = 8


@dataclass(frozen=True)
class Starter:
    """Pairs of 3x3 convolutions with batch normalization, halved by max pooling, then the mean of
    each channel and a linear layer; trained by one cycle of the learning rate.

    train, test: numbers of pictures.
    """

    name: str
    classes: int
    channels: int
    height: int
    width: int
    train: int
    test: int

    @property
    def batch(self) -> int:
        """Pictures in a training batch: fewer where there are few, for ten steps an epoch, but
        enough for the statistics of batch normalization."""
        return min(_BATCH, self.train, max(_LEAST_BATCH, self.train // 10))

    @property
    def test_batch(self) -> int:
        """The largest divisor of the number of test pictures from 100 down to 10, so that a test
        sees each of them once; without one 50, which leaves a few out."""
        if self.test <= 100:
            return self.test
        return next((size for size in range(100, 9, -1) if self.test % size == 0), 50)

    def net(self, train_db: Path, test_db: Path, mean: Path) -> str:
        """The net's text."""
        layers = [
            f"# Made by `pycaffe_clr data folder`: {self.classes} classes, {self.train} training "
            f"and {self.test} test pictures.\nname: {_quoted(self.name)}\n",
            self._data("TRAIN", train_db, mean, self.batch, "    mirror: true\n"),
            self._data("TEST", test_db, mean, self.test_batch, ""),
        ]
        bottom, side, stage = "data", min(self.height, self.width), 0
        while True:
            width = _WIDTHS[min(stage, len(_WIDTHS) - 1)]
            for half in "ab":
                layers.append(_convolution(f"{stage + 1}{half}", bottom, width))
                bottom = f"conv{stage + 1}{half}"
            if side <= _LAST_SIDE:
                break
            layers.append(_pooling(f"pool{stage + 1}", bottom))
            bottom, side, stage = f"pool{stage + 1}", side // 2, stage + 1
        return "".join([*layers, self._end(bottom)])

    def _data(self, phase: str, database: Path, mean: Path, batch: int, more: str) -> str:
        return f"""layer {{
  name: "data" type: "Data" top: "data" top: "label"
  include {{ phase: {phase} }}
  transform_param {{
    scale: 0.0078125
    mean_file: {_quoted(str(mean))}
{more}  }}
  data_param {{ source: {_quoted(str(database))} batch_size: {batch} backend: LMDB }}
}}
"""

    def _end(self, bottom: str) -> str:
        return f"""layer {{
  name: "mean" type: "Pooling" bottom: "{bottom}" top: "mean"
  pooling_param {{ pool: AVE global_pooling: true }}
}}
layer {{
  name: "scores" type: "InnerProduct" bottom: "mean" top: "scores"
  inner_product_param {{ num_output: {self.classes} weight_filler {{ type: "xavier" }} }}
}}
layer {{
  name: "loss" type: "SoftmaxWithLoss" bottom: "scores" bottom: "label" top: "loss"
}}
layer {{
  name: "accuracy" type: "Accuracy" bottom: "scores" bottom: "label" top: "accuracy"
  include {{ phase: TEST }}
}}
"""

    def solver(self, net: Path) -> str:
        """The solver's text: one cycle over 30 epochs, a test and a snapshot each few of them."""
        epoch = max(1, self.train // self.batch)
        iterations = _EPOCHS * epoch
        return f"""# Made by `pycaffe_clr data folder`: {_EPOCHS} epochs of {epoch} iterations.
net: {_quoted(str(net))}
test_iter: {self.test // self.test_batch}
test_interval: {2 * epoch}
test_initialization: false
display: {max(1, epoch // 4)}
lr_policy: "1cycle"
base_lr: 0.01
max_lr: 0.1
stepsize: {iterations * 45 // 100}
max_iter: {iterations}
snapshot: {iterations}
snapshot_prefix: {_quoted(self.name)}
type: "Nesterov"
momentum: 0.95
cyclical_momentum: 0.85
cyclical_momentum: {iterations * 45 // 100}
weight_decay: 0.0005
"""


def _convolution(number: str, bottom: str, width: int) -> str:
    name = f"conv{number}"
    return f"""layer {{
  name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}"
  convolution_param {{
    num_output: {width} kernel_size: 3 pad: 1 bias_term: false weight_filler {{ type: "msra" }}
  }}
}}
layer {{ name: "bn{number}" type: "BatchNorm" bottom: "{name}" top: "{name}" }}
layer {{
  name: "scale{number}" type: "Scale" bottom: "{name}" top: "{name}"
  scale_param {{ bias_term: true }}
}}
layer {{ name: "relu{number}" type: "ReLU" bottom: "{name}" top: "{name}" }}
"""


def _pooling(name: str, bottom: str) -> str:
    return f"""layer {{
  name: "{name}" type: "Pooling" bottom: "{bottom}" top: "{name}"
  pooling_param {{ pool: MAX kernel_size: 2 stride: 2 }}
}}
"""


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
