"""A small net around a layer of each type, whose settings tests spoil one by one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import lmdb
import numpy as np
from PIL import Image

import pycaffe_clr as caffe
from pycaffe_clr import proto
from pycaffe_clr.data.mean import encode_mean
from pycaffe_clr.errors import ConfigError

Shapes = list[tuple[int, ...]]


class Doubler(caffe.Layer):
    """What the sample of type Python names."""

    def setup(self, bottom, top):
        if (len(bottom), len(top)) != (1, 1):
            raise ConfigError("expected one bottom and one top")

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = 2 * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = 2 * top[0].diff


@dataclass(frozen=True)
class Sample:
    """bottoms: their shapes; fields: the layer's settings, as prototxt; names: of its tops; last:
    what the last bottom holds, where not any number will do."""

    bottoms: Shapes
    fields: str = ""
    names: tuple[str, ...] = ("y",)
    last: tuple[float, ...] = ()

    def net(self, kind: str, fields: str | None = None) -> str:
        """A net of Input layers in0, in1, .. and the layer 'it'; fields: other settings."""
        inputs = "".join(
            f'layer {{ name: "in{n}" type: "Input" top: "in{n}" input_param {{ shape {{ '
            + " ".join(f"dim: {size}" for size in shape)
            + " } } }\n"
            for n, shape in enumerate(self.bottoms)
        )
        names = [f'bottom: "in{n}"' for n in range(len(self.bottoms))]
        names += [f'top: "{name}"' for name in self.names]
        settings = self.fields if fields is None else fields
        return f'{inputs}layer {{ name: "it" type: "{kind}" {" ".join(names)} {settings} }}\n'


IMAGE = (2, 4, 5, 6)
_ONE = Sample([IMAGE])
_PAIR = [(4, 3), (4, 3)]
_SCORES = [(4, 3), (4,)]
_RECORDS = ("data", "label")

SAMPLES = {
    **{kind: _ONE for kind in ("AbsVal", "BNLL", "Dropout", "ELU", "Exp", "Flatten", "LRN", "Log",
                               "MVN", "Normalize", "PReLU", "Power", "ReLU", "ReLU6", "Reduction",
                               "ShuffleChannel", "Sigmoid", "Softmax", "Swish", "TanH", "Threshold",
                               "BatchNorm", "Scale", "Bias", "ArgMax")},
    **{kind: Sample([IMAGE], 'convolution_param { num_output: 4 kernel_size: 3 weight_filler { '
                             'type: "xavier" } bias_filler { value: 1 } }')
       for kind in ("Convolution", "Deconvolution", "DepthwiseConvolution",
                    "ConvolutionDepthwise")},
    **{kind: Sample([(3, 2, 4), (3, 2)],
                    'recurrent_param { num_output: 3 weight_filler { type: "xavier" } }')
       for kind in ("LSTM", "RNN")},
    **{kind: Sample(_SCORES) for kind in ("Accuracy", "HingeLoss", "MultinomialLogisticLoss",
                                          "SoftmaxWithLoss")},
    **{kind: Sample(_PAIR) for kind in ("EuclideanLoss", "SmoothL1Loss",
                                        "SigmoidCrossEntropyLoss")},
    "AnnotatedData": Sample(
        [], 'data_param { source: "boxes" batch_size: 2 } transform_param { resize_param { height: '
            "4 width: 4 } }", _RECORDS),
    "Axpy": Sample([(2, 4), IMAGE, IMAGE]),
    "BatchReindex": Sample([IMAGE, (3,)]),
    "Clip": Sample([IMAGE], "clip_param { min: -1 max: 1 }"),
    "Concat": Sample([IMAGE, IMAGE]),
    "ContrastiveLoss": Sample([*_PAIR, (4,)]),
    "Crop": Sample([IMAGE, (2, 4, 3, 3)], "crop_param { offset: 1 }"),
    "Data": Sample([], 'data_param { source: "db" batch_size: 2 }', _RECORDS),
    "DetectionEvaluate": Sample([(1, 1, 1, 7), (1, 1, 1, 8)],
                                "detection_evaluate_param { num_classes: 3 }",
                                last=(0, 1, 0, 0.1, 0.1, 0.5, 0.5, 0)),
    "DetectionOutput": Sample([(1, 8), (1, 6), (1, 2, 8)],
                              "detection_output_param { num_classes: 3 keep_top_k: 3 nms_param { "
                              "top_k: 4 } }"),
    "DummyData": Sample([], "dummy_data_param { shape { dim: 2 dim: 3 } }"),
    "Eltwise": Sample([IMAGE, IMAGE]),
    "Embed": Sample([(2, 3)], "embed_param { num_output: 4 input_dim: 5 }"),
    "Filter": Sample([IMAGE, (2,)]),
    "HDF5Data": Sample([], 'hdf5_data_param { source: "list.txt" batch_size: 2 }', _RECORDS),
    "HDF5Output": Sample(_SCORES, 'hdf5_output_param { file_name: "out.h5" }', ()),
    "Im2col": Sample([IMAGE], "convolution_param { kernel_size: 3 }"),
    "ImageData": Sample([], 'image_data_param { source: "pictures.txt" batch_size: 2 }', _RECORDS),
    "InfogainLoss": Sample([*_SCORES, (3, 3)]),
    "InnerProduct": Sample([IMAGE], 'inner_product_param { num_output: 3 weight_filler { type: '
                                    '"xavier" } bias_filler { value: 1 } }'),
    "Input": Sample([], "input_param { shape { dim: 2 dim: 3 } }"),
    "Interp": Sample([IMAGE], "interp_param { height: 3 width: 4 }"),
    "LSTMUnit": Sample([(1, 2, 3), (1, 2, 12), (1, 2)], names=("c", "h")),
    "MemoryData": Sample(
        [], "memory_data_param { batch_size: 2 channels: 3 height: 4 width: 5 }", _RECORDS),
    "MultiBoxLoss": Sample([(1, 8), (1, 6), (1, 2, 8), (1, 1, 1, 8)],
                           "multibox_loss_param { num_classes: 3 }",
                           last=(0, 1, 0, 0.1, 0.1, 0.5, 0.5, 0)),
    "Parameter": Sample([], "parameter_param { shape { dim: 2 dim: 3 } }"),
    "Permute": Sample([IMAGE], "permute_param { order: 0 order: 2 order: 3 order: 1 }"),
    "Pooling": Sample([IMAGE], "pooling_param { kernel_size: 2 }"),
    "PriorBox": Sample([IMAGE, (2, 3, 20, 30)],
                       "prior_box_param { min_size: 3 max_size: 5 variance: 0.1 }"),
    "Proposal": Sample([(1, 18, 3, 3), (1, 36, 3, 3), (1, 3)],
                       "proposal_param { post_nms_topn: 5 }"),
    "Python": Sample([IMAGE], 'python_param { module: "layer_samples" layer: "Doubler" }'),
    "ROIPooling": Sample([IMAGE, (3, 5)], "roi_pooling_param { pooled_h: 2 pooled_w: 2 }"),
    "Reshape": Sample([IMAGE], "reshape_param { shape { dim: 0 dim: -1 } }"),
    "Resize": Sample([IMAGE], "resize_param { height: 7 width: 3 }"),
    "SPP": Sample([IMAGE], "spp_param { pyramid_height: 2 }"),
    "Silence": Sample([IMAGE], names=()),
    "Slice": Sample([IMAGE], "slice_param { slice_point: 1 }", ("a", "b")),
    "Split": Sample([IMAGE], names=("a", "b")),
    "Tile": Sample([IMAGE], "tile_param { tiles: 2 }"),
    "WindowData": Sample([], 'window_data_param { source: "windows.txt" batch_size: 2 fg_fraction: '
                             "0.5 } transform_param { crop_size: 4 }", _RECORDS),
}  # fmt: skip


_MESSAGES = {
    "ConvolutionDepthwise": "convolution_param",
    "Deconvolution": "convolution_param",
    "DepthwiseConvolution": "convolution_param",
    "AnnotatedData": "data_param",
    "LSTM": "recurrent_param",
    "Im2col": "convolution_param",
    "RNN": "recurrent_param",
    "Normalize": "norm_param",
    "SoftmaxWithLoss": "softmax_param",
}
NO_MESSAGE = {"AbsVal", "Axpy", "BNLL", "BatchReindex", "EuclideanLoss", "Filter", "LSTMUnit",
              "MultinomialLogisticLoss", "ReLU6", "SigmoidCrossEntropyLoss", "Silence",
              "Split"}  # fmt: skip


def message_of(kind: str) -> str | None:
    """The field of a LayerParameter that holds a type's own settings; None: it has none."""
    own = {
        name.removesuffix("_param").replace("_", ""): name
        for name in proto.LayerParameter.DESCRIPTOR.fields_by_name
    }
    return _MESSAGES.get(kind) or own.get(kind.lower())


def make_files(folder: Path) -> None:
    """What the samples name, a mean of their pictures, and gain.binaryproto, a matrix of two
    classes."""
    with h5py.File(folder / "0.h5", "w") as file:
        file["data"] = np.ones((3, 2), np.float32)
        file["label"] = np.zeros(3, np.float32)
    (folder / "list.txt").write_text("0.h5\n")
    picture = np.zeros((6, 7, 3), np.uint8)
    Image.fromarray(picture).save(folder / "0.png")
    (folder / "pictures.txt").write_text("0.png 0\n")
    (folder / "windows.txt").write_text("# 0\n0.png\n3\n6\n7\n2\n1 0.9 0 0 5 5\n0 0 1 1 6 5\n")
    plain = proto.Datum(channels=3, height=6, width=7, data=picture.tobytes())
    boxes = proto.AnnotatedDatum(type=0, datum=plain)
    for name, message in (("db", plain), ("boxes", boxes)):
        with lmdb.open(str(folder / name), map_size=1 << 20) as base, base.begin(write=True) as put:
            put.put(b"00000000", message.SerializeToString())
    for name, shape in (("gain", (1, 2, 2)), ("mean", (3, 6, 7))):
        (folder / f"{name}.binaryproto").write_bytes(encode_mean(np.ones(shape, np.float32)))
