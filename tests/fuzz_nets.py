"""Builds and runs spoilt nets, in a process of its own: `python fuzz_nets.py SEED COUNT [FILE]`.

Every net is valid but for a few random changes to its text. Each either works or raises one of the
package's errors; a crash ends this process, and the last net is in FILE then.
"""

from __future__ import annotations

import logging
import random
import re
import resource
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from pycaffe_clr.engine import Records, build_net, ready_core
from pycaffe_clr.errors import PycaffeClrError
from pycaffe_clr.prototxt import parse_net

INPUT = 'layer { name: "in" type: "Input" top: "x" input_param { shape { DIMS } } }\n'
DATA = """
layer { name: "data" type: "Data" top: "x" top: "label"
  transform_param { scale: 0.01 mirror: true crop_size: 8 mean_value: 100 }
  data_param { source: "db" batch_size: 6 backend: LMDB } }
"""
LOSS = """
layer { name: "out" type: "InnerProduct" bottom: "y" top: "out" param { lr_mult: 1 }
  inner_product_param { num_output: 4 axis: 1 weight_filler { type: "xavier" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "out" bottom: "label" top: "accuracy"
  accuracy_param { top_k: 1 axis: 1 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "out" bottom: "label" top: "loss"
  loss_weight: 1 loss_param { ignore_label: 9 normalization: VALID } softmax_param { axis: 1 } }
"""
NETS = [
    DATA
    + """
layer { name: "c" type: "Convolution" bottom: "x" top: "c"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 stride: 1 dilation: 1 group: 1
    weight_filler { type: "msra" variance_norm: AVERAGE } bias_filler { type: "constant" } } }
layer { name: "b" type: "BatchNorm" bottom: "c" top: "c"
  batch_norm_param { moving_average_fraction: 0.9 eps: 1e-5 } }
layer { name: "s" type: "Scale" bottom: "c" top: "c"
  scale_param { axis: 1 num_axes: 1 bias_term: true filler { value: 1 } } }
layer { name: "r" type: "ReLU" bottom: "c" top: "c" relu_param { negative_slope: 0.1 } }
layer { name: "y" type: "Pooling" bottom: "c" top: "y"
  pooling_param { pool: MAX kernel_size: 3 stride: 2 pad: 1 round_mode: CEIL } }
"""
    + LOSS,
    DATA
    + """
layer { name: "c1" type: "Convolution" bottom: "x" top: "c1"
  convolution_param { num_output: 8 kernel_h: 3 kernel_w: 1 pad_h: 1 pad_w: 0
    weight_filler { type: "xavier" } } }
layer { name: "b1" type: "BatchNorm" bottom: "c1" top: "b1" }
layer { name: "s1" type: "Scale" bottom: "b1" top: "b1" scale_param { bias_term: true } }
layer { name: "c2" type: "Convolution" bottom: "x" top: "c2"
  convolution_param { num_output: 8 kernel_size: 1 bias_term: false } }
layer { name: "sum" type: "Eltwise" bottom: "b1" bottom: "c2" top: "sum"
  eltwise_param { operation: SUM coeff: 1 coeff: 1 } }
layer { name: "r" type: "ReLU" bottom: "sum" top: "sum" }
layer { name: "cat" type: "Concat" bottom: "sum" bottom: "c1" top: "cat" concat_param { axis: 1 } }
layer { name: "n" type: "LRN" bottom: "cat" top: "n"
  lrn_param { local_size: 3 alpha: 0.1 beta: 0.75 norm_region: ACROSS_CHANNELS k: 1 } }
layer { name: "y" type: "Pooling" bottom: "n" top: "y"
  pooling_param { pool: AVE global_pooling: true } }
"""
    + LOSS,
    INPUT.replace("DIMS", "dim: 4 dim: 6 dim: 5 dim: 5")
    + """
layer { name: "l" type: "DummyData" top: "label" dummy_data_param {
  shape { dim: 4 } data_filler { type: "constant" value: 1 } } }
layer { name: "cut" type: "Slice" bottom: "x" top: "a" top: "b"
  slice_param { axis: 1 slice_point: 2 } }
layer { name: "d" type: "Dropout" bottom: "a" top: "a" dropout_param { dropout_ratio: 0.4 } }
layer { name: "pr" type: "PReLU" bottom: "a" top: "a"
  prelu_param { channel_shared: false filler { value: 0.2 } } }
layer { name: "si" type: "Sigmoid" bottom: "b" top: "b" }
layer { name: "fa" type: "Flatten" bottom: "a" top: "fa" flatten_param { axis: 1 end_axis: -1 } }
layer { name: "rb" type: "Reshape" bottom: "b" top: "rb"
  reshape_param { shape { dim: 0 dim: -1 } axis: 0 num_axes: -1 } }
layer { name: "bias" type: "Bias" bottom: "rb" top: "rb" bias_param { axis: 1 num_axes: 1 } }
layer { name: "y" type: "Concat" bottom: "fa" bottom: "rb" top: "y" concat_param { axis: 1 } }
layer { name: "q" type: "Softmax" bottom: "y" top: "q" softmax_param { axis: 1 } }
layer { name: "quiet" type: "Silence" bottom: "q" }
"""
    + LOSS,
    """
layer { name: "m" type: "MemoryData" top: "x" top: "label"
  memory_data_param { batch_size: 3 channels: 4 height: 7 width: 6 } }
layer { name: "u" type: "Deconvolution" bottom: "x" top: "u"
  convolution_param { num_output: 4 kernel_size: 4 stride: 2 pad: 1 group: 4 bias_term: false
    weight_filler { type: "bilinear" } } }
layer { name: "n" type: "LRN" bottom: "u" top: "n"
  lrn_param { local_size: 3 norm_region: WITHIN_CHANNEL } }
layer { name: "p" type: "Eltwise" bottom: "n" bottom: "u" top: "p"
  eltwise_param { operation: PROD stable_prod_grad: true } }
layer { name: "i" type: "InnerProduct" bottom: "p" top: "i" param { name: "w" } param { name: "v" }
  inner_product_param { num_output: 6 transpose: true weight_filler { type: "uniform" min: -1 } } }
layer { name: "y" type: "Scale" bottom: "i" top: "y"
  scale_param { axis: 0 num_axes: -1 filler { type: "gaussian" std: 0.1 } } }
"""
    + LOSS,
    INPUT.replace("DIMS", "dim: 3 dim: 4 dim: 6 dim: 5")
    + """
layer { name: "l" type: "DummyData" top: "label" dummy_data_param {
  shape { dim: 3 } data_filler { type: "constant" value: 1 } } }
layer { name: "po" type: "Power" bottom: "x" top: "po"
  power_param { power: 2 scale: 0.5 shift: 1 } }
layer { name: "el" type: "ELU" bottom: "po" top: "po" elu_param { alpha: 0.5 } }
layer { name: "ti" type: "Tile" bottom: "x" top: "ti" tile_param { axis: 2 tiles: 2 } }
layer { name: "cr" type: "Crop" bottom: "ti" bottom: "po" top: "cr"
  crop_param { axis: 2 offset: 3 offset: 0 } }
layer { name: "pe" type: "Permute" bottom: "cr" top: "pe" permute_param { order: 0 order: 2 } }
layer { name: "mv" type: "MVN" bottom: "pe" top: "mv" mvn_param { across_channels: true } }
layer { name: "sp" type: "SPP" bottom: "mv" top: "sp" spp_param { pyramid_height: 2 pool: AVE } }
layer { name: "em" type: "Embed" bottom: "label" top: "em"
  embed_param { num_output: 4 input_dim: 6 weight_filler { type: "uniform" } } }
layer { name: "y" type: "Concat" bottom: "sp" bottom: "em" top: "y" concat_param { axis: 1 } }
layer { name: "re" type: "Reduction" bottom: "y" top: "re"
  reduction_param { axis: 1 operation: SUMSQ coeff: 0.1 } }
layer { name: "eu" type: "EuclideanLoss" bottom: "re" bottom: "label" top: "eu" loss_weight: 0.1 }
layer { name: "am" type: "ArgMax" bottom: "y" top: "am" argmax_param { top_k: 2 axis: 1 } }
layer { name: "quiet" type: "Silence" bottom: "am" }
"""
    + LOSS,
    """
layer { name: "x" type: "DummyData" top: "x" top: "cont" top: "label" dummy_data_param {
  shape { dim: 4 dim: 2 dim: 3 } shape { dim: 4 dim: 2 } shape { dim: 4 }
  data_filler { type: "gaussian" } data_filler { value: 1 } data_filler { value: 2 } } }
layer { name: "ls" type: "LSTM" bottom: "x" bottom: "cont" top: "ls"
  recurrent_param { num_output: 5 weight_filler { type: "uniform" min: -0.1 max: 0.1 } } }
layer { name: "y" type: "RNN" bottom: "ls" bottom: "cont" top: "y"
  recurrent_param { num_output: 3 weight_filler { type: "uniform" min: -0.1 max: 0.1 } } }
"""
    + LOSS,
]
NUMBERS = ["0", "-1", "1", "2", "3", "5", "7", "8", "16", "64", "999", "-2147483648", "2147483647"]
NUMBERS += ["4294967295", "9223372036854775807", "0.5", "-0.5", "1e-30", "1e30", "nan", "inf"]
WORDS = re.compile(r'"[^"]*"|[A-Za-z_][A-Za-z_0-9]*|-?[0-9][-+.0-9e]*|[{}:]')


def spoil(text: str, pick: random.Random, words: list[str]) -> str:
    """A few random changes: mostly of numbers and names, whose spoilt nets get far."""
    names = [w for w in words if w[0] == '"']
    for _ in range(pick.choice([1, 1, 2, 3])):
        kind = pick.random()
        if kind < 0.15:
            text = move_layer(text, pick)
            continue
        places = list(WORDS.finditer(text))
        numbers = [p for p in places if p.group()[0] in "-0123456789"]
        if kind < 0.7:
            place, new = pick.choice(numbers), pick.choice(NUMBERS)
            if pick.random() < 0.7:
                new = pick.choice(["0", "1", "2", "3", "4", "5", "6", "8", "-1", "-2"])
        elif kind < 0.9:
            place = pick.choice([p for p in places if p.group()[0] == '"'])
            new = pick.choice(names)
        else:
            place, new = pick.choice(places), pick.choice([*words, ""])
        text = text[: place.start()] + new + text[place.end() :]
    return text


def move_layer(text: str, pick: random.Random) -> str:
    """Leave a layer out, or put a copy of it elsewhere."""
    starts = [m.start() for m in re.finditer(r"^layer", text, re.M)]
    if len(starts) < 2:
        return text
    at = pick.randrange(len(starts))
    layer = text[starts[at] : [*starts, len(text)][at + 1]]
    if pick.random() < 0.5:
        return text.replace(layer, "", 1)
    other = pick.choice(starts)
    return text[:other] + layer + text[other:]


class MadeUp(Records):
    """A database of noise, whatever the source."""

    def feed(self, settings, where, color=None):
        generator = np.random.default_rng(0)
        records = generator.integers(0, 256, (10, 3, 9, 9), np.uint8)
        return ready_core().ArrayFeed(records, generator.integers(0, 4, 10).astype(np.int32))


def try_net(text: str, pick: random.Random) -> str:
    """Build and run a net both ways; what came of it, in a word."""
    backend = pick.choice(["cpu", "reference"])
    settings = {"fuse": pick.random() < 0.5, "replicas": pick.choice([1, 1, 2]), "seed": 1}
    try:
        net, _ = build_net(
            parse_net(text), phase=pick.choice([0, 0, 1]), device=backend, records=MadeUp(),
            **settings,
        )  # fmt: skip
        if net.memory_bytes > 50e6:
            return "large"
        net.forward()
        for name in net.blobs():
            if not settings["fuse"]:
                net.data(name)[...] = 0.5
        if net.learnable() and not settings["fuse"]:
            net.forward()
            net.backward()
        return "ran"
    except PycaffeClrError as error:
        return type(error).__name__
    except MemoryError:
        return "memory"


def main(seed: int, count: int, file: Path | None = None) -> None:
    logging.disable(logging.CRITICAL)
    ready_core().set_threads(1)
    # A net that is far too large must fail to be had, and not take the machine along.
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    words = sorted({w for text in NETS for w in WORDS.findall(text)})
    pick = random.Random(seed)
    told: Counter[str] = Counter()
    for number in range(count):
        text = NETS[number % len(NETS)]
        if number >= len(NETS):
            text = spoil(text, pick, words)
        if file is not None:
            file.write_text(text)
        outcome = try_net(text, pick if number >= len(NETS) else random.Random(1))
        if number < len(NETS):
            assert outcome == "ran", f"net {number} itself: {outcome}"
        told[outcome] += 1
    print(dict(told))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
