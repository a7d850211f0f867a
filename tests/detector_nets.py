"""Small nets that find objects, and pictures with objects to find."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import lmdb
import numpy as np

import pycaffe_clr as caffe
from pycaffe_clr import proto

BODY = """
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 8 kernel_size: 3 stride: 4 pad: 1
    weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "norm1" type: "Normalize" bottom: "conv1" top: "norm1"
  norm_param { across_spatial: false channel_shared: false
    scale_filler { type: "constant" value: 20 } } }
layer { name: "conv2" type: "Convolution" bottom: "conv1" top: "conv2"
  convolution_param { num_output: 8 kernel_size: 3 stride: 2 pad: 1
    weight_filler { type: "xavier" } } }
layer { name: "relu2" type: "ReLU" bottom: "conv2" top: "conv2" }
"""


def head(source: str, boxes: int, sizes: str) -> str:
    """What SSD puts upon a map: shifts, confidences of three classes, and prior boxes."""
    text = ""
    for kind, count in (("loc", 4 * boxes), ("conf", 3 * boxes)):
        name = f"{source}_{kind}"
        text += f"""
layer {{ name: "{name}" type: "Convolution" bottom: "{source}" top: "{name}"
  convolution_param {{ num_output: {count} kernel_size: 3 pad: 1
    weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "{name}_perm" type: "Permute" bottom: "{name}" top: "{name}_perm"
  permute_param {{ order: 0 order: 2 order: 3 order: 1 }} }}
layer {{ name: "{name}_flat" type: "Flatten" bottom: "{name}_perm" top: "{name}_flat"
  flatten_param {{ axis: 1 }} }}
"""
    return (
        text
        + f"""
layer {{ name: "{source}_prior" type: "PriorBox" bottom: "{source}" bottom: "data"
  top: "{source}_prior" prior_box_param {{ {sizes} aspect_ratio: 2 flip: true clip: false
    variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 offset: 0.5 }} }}
"""
    )


def joined(name: str, kind: str, axis: int) -> str:
    return f"""layer {{ name: "{name}" type: "Concat" bottom: "norm1_{kind}" bottom: "conv2_{kind}"
  top: "{name}" concat_param {{ axis: {axis} }} }}\n"""


HEADS = (
    head("norm1", 4, "min_size: 10 max_size: 16")
    + head("conv2", 3, "min_size: 18")
    + joined("loc", "loc_flat", 1)
    + joined("conf", "conf_flat", 1)
    + joined("prior", "prior", 2)
)
LOSS = """
layer { name: "loss" type: "MultiBoxLoss" bottom: "loc" bottom: "conf" bottom: "prior"
  bottom: "label" top: "loss" include { phase: TRAIN }
  propagate_down: true propagate_down: true propagate_down: false propagate_down: false
  loss_param { normalization: VALID }
  multibox_loss_param { num_classes: 3 code_type: CENTER_SIZE neg_pos_ratio: 3 } }
"""
DETECTIONS = """
layer { name: "scores" type: "Reshape" bottom: "conf" top: "scores"
  reshape_param { shape { dim: 0 dim: -1 dim: 3 } } }
layer { name: "softmax" type: "Softmax" bottom: "scores" top: "softmax" softmax_param { axis: 2 } }
layer { name: "flat" type: "Flatten" bottom: "softmax" top: "flat" flatten_param { axis: 1 } }
layer { name: "found" type: "DetectionOutput" bottom: "loc" bottom: "flat" bottom: "prior"
  top: "found" detection_output_param { num_classes: 3 code_type: CENTER_SIZE keep_top_k: 20
    confidence_threshold: 0.5 nms_param { nms_threshold: 0.45 top_k: 40 } } }
"""
DATA = """
layer { name: "data" type: "AnnotatedData" top: "data" top: "label" include { phase: TRAIN }
  transform_param { mirror: true mean_value: 100 scale: 0.02
    resize_param { prob: 1 resize_mode: WARP height: 32 width: 32 interp_mode: LINEAR
      interp_mode: AREA }
    emit_constraint { emit_type: CENTER } expand_param { prob: 0.2 max_expand_ratio: 1.5 } }
  data_param { source: "boxes" batch_size: 8 backend: LMDB }
  annotated_data_param { batch_sampler { max_sample: 1 max_trials: 1 } label_map_file: "none" } }
"""


TEST_DATA = """
layer { name: "data" type: "AnnotatedData" top: "data" top: "label" include { phase: TEST }
  transform_param { mean_value: 100 scale: 0.02
    resize_param { prob: 1 resize_mode: WARP height: 32 width: 32 interp_mode: LINEAR } }
  data_param { source: "boxes" batch_size: 4 backend: LMDB }
  annotated_data_param { batch_sampler { } label_map_file: "none" } }
"""
EVALUATION = """
layer { name: "eval" type: "DetectionEvaluate" bottom: "found" bottom: "label"
  top: "detection_eval" detection_evaluate_param { num_classes: 3 overlap_threshold: 0.4
    evaluate_difficult_gt: false } }
"""
DEPLOY_SSD = 'input: "data" input_shape { dim: 1 dim: 3 dim: 32 dim: 32 }\n' + (
    BODY + HEADS + DETECTIONS.replace("keep_top_k: 20", "keep_top_k: 90")
)
DEPLOY_RCNN = (
    'input: "data" input_shape { dim: 1 dim: 3 dim: 64 dim: 48 }\n'
    'input: "im_info" input_shape { dim: 1 dim: 3 }\n'
    + BODY
    + """
layer { name: "rpn" type: "Convolution" bottom: "conv2" top: "rpn"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "rpn_cls" type: "Convolution" bottom: "rpn" top: "rpn_cls"
  convolution_param { num_output: 12 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "rpn_bbox" type: "Convolution" bottom: "rpn" top: "rpn_bbox"
  convolution_param { num_output: 24 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "pairs" type: "Reshape" bottom: "rpn_cls" top: "pairs"
  reshape_param { shape { dim: 0 dim: 2 dim: -1 dim: 0 } } }
layer { name: "pair_prob" type: "Softmax" bottom: "pairs" top: "pair_prob" }
layer { name: "rpn_prob" type: "Reshape" bottom: "pair_prob" top: "rpn_prob"
  reshape_param { shape { dim: 0 dim: 12 dim: -1 dim: 0 } } }
layer { name: "proposal" type: "Proposal" bottom: "rpn_prob" bottom: "rpn_bbox" bottom: "im_info"
  top: "rois" proposal_param { feat_stride: 8 base_size: 8 min_size: 6 scale: 1 scale: 2
    pre_nms_topn: 200 post_nms_topn: 200 nms_thresh: 0.6 } }
layer { name: "pool" type: "ROIPooling" bottom: "conv2" bottom: "rois" top: "pool"
  roi_pooling_param { pooled_w: 3 pooled_h: 3 spatial_scale: 0.125 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  inner_product_param { num_output: 16 weight_filler { type: "xavier" } } }
layer { name: "fc_relu" type: "ReLU" bottom: "fc" top: "fc" }
layer { name: "drop" type: "Dropout" bottom: "fc" top: "fc" dropout_param { dropout_ratio: 0.5 } }
layer { name: "cls" type: "InnerProduct" bottom: "fc" top: "cls"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "bbox_pred" type: "InnerProduct" bottom: "fc" top: "bbox_pred"
  inner_product_param { num_output: 12 weight_filler { type: "xavier" } } }
layer { name: "cls_prob" type: "Softmax" bottom: "cls" top: "cls_prob" }
"""
)


def fill_detector(net: caffe.Net, random: np.random.Generator) -> None:
    """Give a deploy net a picture, and weights with which it finds boxes of all classes: as large
    on the way as it was before, classes apart, boxes near where they are looked for."""
    data = net.blobs["data"]
    data.data[...] = random.normal(0, 1, data.shape)
    if "im_info" in net.blobs:
        net.blobs["im_info"].data[...] = [*data.shape[2:], 1]
    for layer in net.layers:
        if layer.type not in ("Convolution", "InnerProduct"):
            continue
        weights, *bias = layer.blobs
        classes = any(word in layer.name for word in ("conf", "cls"))
        boxes = any(word in layer.name for word in ("loc", "bbox"))
        gain = 1.5 if classes else 0.05 if boxes else 2**0.5
        size = weights.data[0].size
        weights.data[...] = random.normal(0, gain / size**0.5, weights.shape)
        for each in bias:
            each.data[...] = 0


def box_database(folder: Path, count: int, size: int, seed: int = 1) -> None:
    """Gray pictures, each with one bright square (class 1) or dark one (class 2)."""
    random = np.random.default_rng(seed)
    with lmdb.open(str(folder), map_size=1 << 26) as env, env.begin(write=True) as put:
        for number in range(count):
            image = random.integers(90, 110, (3, size, size), dtype=np.uint8)
            side = size * 3 // 8
            x, y = random.integers(0, size - side, 2)
            label = 1 + number % 2
            image[:, y : y + side, x : x + side] = 250 if label == 1 else 5
            message = proto.AnnotatedDatum(type=0)
            message.datum.channels, message.datum.height, message.datum.width = image.shape
            message.datum.data = image.tobytes()
            box = message.annotation_group.add(group_label=label).annotation.add().bbox
            box.xmin, box.ymin = x / size, y / size
            box.xmax, box.ymax = (x + side) / size, (y + side) / size
            put.put(b"%08d" % number, message.SerializeToString())


def precision_by_the_formula(
    scores: Sequence[float], right: Sequence[bool], truths: int, version: str
) -> float:
    """Average precision of one class's detections, element by element."""
    order = sorted(range(len(scores)), key=lambda n: -scores[n])
    hits = [sum(right[n] for n in order[: k + 1]) for k in range(len(order))]
    precision = [hit / (k + 1) for k, hit in enumerate(hits)]
    recall = [hit / truths for hit in hits]
    if version == "11point":
        point = np.float32(recall).tolist()
        return sum(
            max((p for p, r in zip(precision, point, strict=True) if r >= j / 10), default=0)
            for j in range(11)
        ) / 11  # fmt: skip
    steps = np.diff([0, *recall])
    if version == "Integral":
        return float(np.dot(steps, precision))
    # Between two recalls the best precision from the lower one on.
    best = [max(precision[k:]) for k in range(len(precision))]
    return best[0] * recall[0] + sum(best[k] * steps[k + 1] for k in range(len(best) - 1))
