"""Nets of one layer or a few, of every type that can be exported."""

from __future__ import annotations

# Name: (shapes of the inputs, the layers). Blobs: a, b, ... and y.
CASES: dict[str, tuple[list[tuple[int, ...]], str]] = {
    "convolution": ([(2, 4, 9, 8)], """type: "Convolution" convolution_param { num_output: 6
        kernel_size: 3 pad: 1 stride: 2 group: 2 weight_filler { type: "xavier" }
        bias_filler { type: "uniform" } }"""),
    "convolution of two sizes": ([(2, 3, 9, 8)], """type: "Convolution" convolution_param {
        num_output: 5 kernel_h: 3 kernel_w: 2 pad_h: 1 pad_w: 0 stride_h: 1 stride_w: 2
        bias_term: false weight_filler { type: "xavier" } }"""),
    "dilated convolution": ([(1, 3, 12, 12)], """type: "Convolution" convolution_param {
        num_output: 5 kernel_size: 3 dilation: 2 pad: 2 weight_filler { type: "xavier" } }"""),
    "deconvolution": ([(2, 4, 5, 6)], """type: "Deconvolution" convolution_param { num_output: 6
        kernel_size: 4 stride: 2 pad: 1 group: 2 weight_filler { type: "xavier" } }"""),
    "depthwise": ([(2, 4, 6, 6)], """type: "DepthwiseConvolution" convolution_param {
        num_output: 4 kernel_size: 3 pad: 1 group: 4 weight_filler { type: "xavier" } }"""),
    "pooling": ([(2, 3, 9, 7)], 'type: "Pooling" pooling_param { kernel_size: 3 stride: 2 }'),
    "padded pooling": ([(2, 3, 8, 7)],
        'type: "Pooling" pooling_param { kernel_size: 3 stride: 2 pad: 1 }'),
    "pooling that skips": ([(1, 2, 8, 10)],
        'type: "Pooling" pooling_param { kernel_size: 2 stride: 3 }'),
    "pooling means": ([(2, 3, 9, 8)],
        'type: "Pooling" pooling_param { pool: AVE kernel_size: 3 stride: 2 }'),
    "padded means": ([(2, 3, 8, 7)],
        'type: "Pooling" pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }'),
    "padded means to the end": ([(1, 2, 10, 11)],
        'type: "Pooling" pooling_param { pool: AVE kernel_size: 3 stride: 3 pad: 2 }'),
    "means with a short last window": ([(1, 2, 7, 6)],
        'type: "Pooling" pooling_param { pool: AVE kernel_size: 2 stride: 2 pad: 1 }'),
    "floored pooling": ([(1, 2, 8, 7)],
        'type: "Pooling" pooling_param { kernel_size: 3 stride: 2 round_mode: FLOOR }'),
    "global means": ([(2, 3, 5, 4)],
        'type: "Pooling" pooling_param { pool: AVE global_pooling: true }'),
    "global maxima": ([(2, 3, 5, 4)], 'type: "Pooling" pooling_param { global_pooling: true }'),
    "inner product": ([(3, 2, 4)], """type: "InnerProduct" inner_product_param { num_output: 5
        weight_filler { type: "xavier" } bias_filler { type: "uniform" } }"""),
    "inner product of a late axis": ([(3, 2, 4, 2)], """type: "InnerProduct" inner_product_param {
        num_output: 5 axis: -2 transpose: true bias_term: false
        weight_filler { type: "xavier" } }"""),
    "lrn": ([(2, 7, 5, 4)],
        'type: "LRN" lrn_param { local_size: 5 alpha: 0.3 beta: 0.75 k: 2 }'),
    "lrn within channels": ([(2, 3, 7, 6)],
        'type: "LRN" lrn_param { local_size: 3 alpha: 0.5 norm_region: WITHIN_CHANNEL }'),
    "relu": ([(2, 3)], 'type: "ReLU"'),
    "leaky relu": ([(2, 3)], 'type: "ReLU" relu_param { negative_slope: 0.1 }'),
    "prelu": ([(2, 3, 4, 2)], 'type: "PReLU" prelu_param { filler { type: "uniform" } }'),
    "shared prelu": ([(2, 3, 4)], 'type: "PReLU" prelu_param { channel_shared: true }'),
    "elu": ([(2, 3)], 'type: "ELU" elu_param { alpha: 0.7 }'),
    "sigmoid": ([(2, 3)], 'type: "Sigmoid"'),
    "tanh": ([(2, 3)], 'type: "TanH"'),
    "absval": ([(2, 3)], 'type: "AbsVal"'),
    "bnll": ([(2, 3)], 'type: "BNLL"'),
    "swish": ([(2, 3)], 'type: "Swish" swish_param { beta: 1.5 }'),
    "clip": ([(2, 3)], 'type: "Clip" clip_param { min: -0.5 max: 0.25 }'),
    "relu6": ([(2, 3)], 'type: "ReLU6"'),
    "threshold": ([(2, 3)], 'type: "Threshold" threshold_param { threshold: 0.2 }'),
    "power": ([(2, 3)], 'type: "Power" power_param { power: 2 scale: 0.5 shift: 1 }'),
    "exp": ([(2, 3)], 'type: "Exp" exp_param { base: 2 scale: 0.5 shift: 1 }'),
    "log": ([(2, 3)], """type: "Exp" } layer { name: "log" bottom: "y" top: "y" type: "Log"
        log_param { base: 10 scale: 0.5 shift: 1 }"""),
    "sum": ([(2, 3), (2, 3), (2, 3)],
        'type: "Eltwise" eltwise_param { coeff: 1 coeff: -0.5 coeff: 2 }'),
    "product": ([(2, 3), (2, 3)], 'type: "Eltwise" eltwise_param { operation: PROD }'),
    "maximum": ([(2, 3), (2, 3), (2, 3)], 'type: "Eltwise" eltwise_param { operation: MAX }'),
    "scale": ([(2, 3, 4, 2)], """type: "Scale" scale_param { bias_term: true
        filler { type: "uniform" } bias_filler { type: "uniform" } }"""),
    "scale of late axes": ([(2, 3, 4)],
        'type: "Scale" scale_param { axis: -1 filler { type: "uniform" } }'),
    "scale by a blob": ([(2, 3, 4), (2, 3)], 'type: "Scale" scale_param { axis: 0 }'),
    "bias": ([(2, 3, 4, 2)], 'type: "Bias" bias_param { filler { type: "uniform" } }'),
    "axpy": ([(2, 3), (2, 3, 4, 5), (2, 3, 4, 5)], 'type: "Axpy"'),
    "dropout": ([(2, 3)], 'type: "Dropout"'),
    "batch norm": ([(4, 3, 5, 2)], """type: "BatchNorm" } layer { name: "scale" type: "Scale"
        bottom: "y" top: "y" scale_param { bias_term: true }"""),
    "softmax": ([(2, 3, 4)], 'type: "Softmax"'),
    "softmax of a late axis": ([(2, 3, 4)], 'type: "Softmax" softmax_param { axis: -1 }'),
    "mvn": ([(2, 3, 4, 5)], 'type: "MVN"'),
    "mvn across channels": ([(2, 3, 4, 5)],
        'type: "MVN" mvn_param { across_channels: true normalize_variance: false }'),
    "normalize": ([(2, 3, 4, 5)], """type: "Normalize" norm_param { across_spatial: false
        channel_shared: false scale_filler { type: "constant" value: 20 } }"""),
    "sum of axes": ([(2, 3, 4)],
        'type: "Reduction" reduction_param { axis: 1 operation: ASUM coeff: 0.5 }'),
    "mean of axes": ([(2, 3, 4)],
        'type: "Reduction" reduction_param { axis: -1 operation: MEAN }'),
    "squares of axes": ([(2, 3, 4)], 'type: "Reduction" reduction_param { operation: SUMSQ }'),
    "argmax": ([(2, 7)], 'type: "ArgMax"'),
    "argmax of an axis": ([(2, 3, 4)], 'type: "ArgMax" argmax_param { axis: 1 top_k: 2 }'),
    "maxima": ([(2, 7)], 'type: "ArgMax" argmax_param { out_max_val: true top_k: 3 }'),
    "concat": ([(2, 3, 2), (2, 4, 2)], 'type: "Concat"'),
    "concat of the batch": ([(2, 3), (1, 3)], 'type: "Concat" concat_param { axis: 0 }'),
    "slice": ([(2, 6, 2)], """type: "Slice" top: "z" top: "w"
        slice_param { slice_point: 1 slice_point: 3 }"""),
    "flatten": ([(2, 3, 4, 2)], 'type: "Flatten"'),
    "flatten of some": ([(2, 3, 4, 2)], 'type: "Flatten" flatten_param { axis: 2 }'),
    "reshape": ([(2, 3, 4)],
        'type: "Reshape" reshape_param { shape { dim: 0 dim: 2 dim: -1 } }'),
    "crop": ([(2, 3, 7, 8), (2, 3, 4, 5)],
        'type: "Crop" crop_param { axis: 2 offset: 1 offset: 3 }'),
    "tile": ([(2, 3, 2)], 'type: "Tile" tile_param { axis: 1 tiles: 3 }'),
    "permute": ([(2, 3, 4, 5)],
        'type: "Permute" permute_param { order: 0 order: 2 order: 3 order: 1 }'),
    "shuffle": ([(2, 6, 3, 2)], 'type: "ShuffleChannel" shuffle_channel_param { group: 3 }'),
    "pyramid": ([(2, 3, 7, 9)], 'type: "SPP" spp_param { pyramid_height: 2 }'),
    "lstm": ([(3, 2, 4), (3, 2)], """type: "LSTM" recurrent_param { num_output: 5
        weight_filler { type: "xavier" } bias_filler { type: "uniform" } }"""),
    "lstm with a static input": ([(3, 2, 4), (3, 2), (2, 3)], """type: "LSTM" recurrent_param {
        num_output: 5 weight_filler { type: "xavier" } }"""),
    "lstm with its states": ([(3, 2, 4), (3, 2), (1, 2, 5), (1, 2, 5)], """type: "LSTM"
        top: "h" top: "c" recurrent_param { num_output: 5 expose_hidden: true
        weight_filler { type: "xavier" } }"""),
    "rnn": ([(3, 2, 4), (3, 2)], """type: "RNN" recurrent_param { num_output: 5
        weight_filler { type: "xavier" } bias_filler { type: "uniform" } }"""),
    "lstm unit": ([(1, 2, 3), (1, 2, 12), (1, 2)], 'type: "LSTMUnit" top: "h"'),
    "im2col": ([(2, 3, 7, 6)], """type: "Im2col" convolution_param { kernel_h: 3 kernel_w: 2
        pad: 1 stride: 2 dilation: 2 }"""),
    "regions": ([(2, 3, 9, 8), (4, 5)],
        'type: "ROIPooling" roi_pooling_param { pooled_h: 3 pooled_w: 2 spatial_scale: 0.5 }'),
    "detections": ([(1, 48), (1, 36), (1, 2, 48)], """type: "DetectionOutput"
        detection_output_param { num_classes: 3 code_type: CENTER_SIZE keep_top_k: 9
        confidence_threshold: -0.5 nms_param { nms_threshold: 0.4 top_k: 8 } }"""),
    "detections by corners": ([(1, 48), (1, 36), (1, 2, 48)], """type: "DetectionOutput"
        detection_output_param { num_classes: 3 background_label_id: 1 keep_top_k: 30
        variance_encoded_in_target: true nms_param { nms_threshold: 0.6 } }"""),
    "proposals": ([(1, 12, 4, 5), (1, 24, 4, 5), (1, 3)], """type: "Proposal" top: "scores"
        proposal_param { feat_stride: 8 base_size: 8 min_size: 4 ratio: 0.5 ratio: 1 ratio: 2
        scale: 1 scale: 2 pre_nms_topn: 60 post_nms_topn: 40 nms_thresh: 0.5 }"""),
    "filter": ([(4, 3), (4, 2, 2), (4,)], 'type: "Filter" top: "z"'),
    "embed": ([(3, 2)], """type: "Embed" embed_param { num_output: 4 input_dim: 7
        weight_filler { type: "xavier" } bias_filler { type: "uniform" } }"""),
    "batch reindex": ([(4, 3), (5,)], 'type: "BatchReindex"'),
    "resize": ([(1, 2, 4, 5)], 'type: "Resize" resize_param { height: 7 width: 3 }'),
    "interp": ([(1, 2, 4, 5)], 'type: "Interp" interp_param { height: 7 width: 9 }'),
}  # fmt: skip


def net_text(name: str) -> str:
    """The prototxt of a case: every layer reads inputs, and its top is `y`."""
    shapes, layer = CASES[name]
    inputs = "abde"[: len(shapes)]
    text = f'name: "{name}"\n'
    for blob, shape in zip(inputs, shapes, strict=True):
        dims = " ".join(f"dim: {size}" for size in shape)
        text += (
            f'layer {{ name: "{blob}" type: "Input" top: "{blob}" '
            f"input_param {{ shape {{ {dims} }} }} }}\n"
        )
    bottoms = " ".join(f'bottom: "{blob}"' for blob in inputs)
    return text + f'layer {{ name: "layer" {bottoms} top: "y" {layer} }}\n'


def kind_of(name: str) -> str:
    """The type of a case's layer."""
    return CASES[name][1].split('"')[1]
