// One case and more of each of the many layer types, for gradient checks through a whole net.
#pragma once

#include <string>
#include <vector>

#include "net_text.h"

namespace pcc {

struct LayerCase {
  const char* name;
  Shape data;                    // shape of blob 'data'
  std::string layers;            // from 'data' (and 'other', of the same shape, where named) to 'y'
  std::vector<Shape> more = {};  // inputs in1, in2, ..
  std::vector<Shape> labels = {};  // inputs label1, label2, ..: numbers 0 to 2, without gradient
};

inline std::string one(const std::string& type, const std::string& fields) {
  return layer(type, "x", "data", "y", fields);
}

inline const char* const kFill =
    "weight_filler { type: 'gaussian' std: 0.5 } bias_filler { type: 'gaussian' std: 0.5 }";

inline std::string conv(const std::string& type, const std::string& fields) {
  return one(type, concat("convolution_param { ", fields, " ", kFill, " }"));
}

// A layer of several bottoms: "data in1".
inline std::string with_bottoms(const std::string& type, const std::string& bottoms,
                                const std::string& tops, const std::string& fields = "") {
  std::string text = "layer { name: 'x' type: '" + type + "'";
  const auto list = [&text](const std::string& field, const std::string& names) {
    for (size_t from = 0; from < names.size();) {
      const size_t end = std::min(names.find(' ', from), names.size());
      text += " " + field + ": '" + names.substr(from, end - from) + "'";
      from = end + 1;
    }
  };
  list("bottom", bottoms);
  list("top", tops);
  return text + " " + fields + " }\n";
}

inline std::vector<LayerCase> function_cases() {
  const Shape image{2, 4, 5, 6};
  const auto in_place = [](const std::string& type, const std::string& fields) {
    return conv("Convolution", "num_output: 4 kernel_size: 3") + layer(type, "f", "y", "y", fields);
  };
  return {
      {"AbsVal", image, one("AbsVal", "")},
      {"BNLL", image, one("BNLL", "")},
      {"Clip", image, one("Clip", "clip_param { min: -0.5 max: 0.4 }")},
      {"ELU", image, one("ELU", "elu_param { alpha: 0.7 }")},
      {"ELU with a negative alpha", image, one("ELU", "elu_param { alpha: -0.7 }")},
      {"ELU in place", image, in_place("ELU", "elu_param { alpha: 2 }")},
      {"Exp", image, one("Exp", "exp_param { base: 2 scale: 0.5 shift: 0.3 }")},
      {"Exp in place", image, in_place("Exp", "exp_param { scale: 0.5 }")},
      {"Log", image, one("Log", "log_param { base: 10 scale: 0.3 shift: 2 }")},
      {"Log in place", image,
       in_place("Sigmoid", "") + layer("Log", "g", "y", "y", "log_param { shift: 1 }")},
      {"Power", image, one("Power", "power_param { power: 2.5 scale: 0.4 shift: 2 }")},
      {"Power, square", image, one("Power", "power_param { power: 2 scale: 0.4 shift: 1 }")},
      {"Power, linear", image, one("Power", "power_param { scale: 0.4 shift: 1 }")},
      {"Power in place", image, in_place("Power", "power_param { power: 2 shift: 1 }")},
      {"ReLU6", image, one("ReLU6", "")},
      {"Swish", image, one("Swish", "swish_param { beta: 1.5 }")},
      {"Swish in place", image, in_place("Swish", "")},
      {"TanH", image, one("TanH", "")},
      {"TanH in place", image, in_place("TanH", "")},
  };
}

inline std::vector<LayerCase> selection_cases() {
  const Shape image{2, 4, 5, 6};
  return {
      {"Crop",
       image,
       with_bottoms("Crop", "data label1", "y", "crop_param { offset: 1 offset: 3 }"),
       {},
       {{9, 9, 3, 2}}},
      {"Crop, like a blob of more axes",
       image,
       with_bottoms("Crop", "data label1", "y", "crop_param { axis: 3 }"),
       {},
       {{9, 9, 9, 2, 7}}},
      {"Tile", image, one("Tile", "tile_param { axis: 2 tiles: 3 }")},
      {"Permute", image, one("Permute", "permute_param { order: 0 order: 3 order: 1 }")},
      {"ShuffleChannel", image, one("ShuffleChannel", "shuffle_channel_param { group: 2 }")},
      {"BatchReindex", {3, 4, 2}, with_bottoms("BatchReindex", "data label1", "y"), {}, {{3}}},
      {"Reduction SUM", image, one("Reduction", "reduction_param { axis: 2 coeff: 0.5 }")},
      {"Reduction MEAN", image, one("Reduction", "reduction_param { axis: 3 operation: MEAN }")},
      {"Reduction ASUM", image, one("Reduction", "reduction_param { axis: -1 operation: ASUM }")},
      {"Reduction SUMSQ", image, one("Reduction", "reduction_param { axis: 2 operation: SUMSQ }")},
      {"Parameter", image,
       "layer { name: 'p' type: 'Parameter' top: 'w' parameter_param { shape { dim: 2 dim: 4 dim: "
       "5 dim: 6 } } }" +
           with_bottoms("Eltwise", "data w", "y", "eltwise_param { operation: PROD }")},
      {"Im2col", image,
       one("Im2col", "convolution_param { kernel_size: 3 stride: 2 pad: 1 dilation: 2 }")},
      {"Embed",
       {2, 3, 4},
       "layer { name: 'e' type: 'Embed' bottom: 'label1' top: 'e' embed_param { num_output: 4 "
       "input_dim: 3 } }" +
           with_bottoms("Eltwise", "data e", "y", "eltwise_param { operation: PROD }"),
       {},
       {{2, 3}}},
      {"Interp", image, one("Interp", "interp_param { height: 7 width: 4 pad_beg: -1 }")},
      {"Resize", image, one("Resize", "resize_param { height: 8 width: 4 }")},
      {"Interp, zoomed", image, one("Interp", "interp_param { zoom_factor: 2 }")},
      {"SPP", image, one("SPP", "spp_param { pyramid_height: 2 }")},
      {"SPP of one level", image, one("SPP", "spp_param { pyramid_height: 1 pool: AVE }")},
      {"Pooling STOCHASTIC", image,
       layer("AbsVal", "a", "data", "a") +
           layer("Pooling", "x", "a", "y", "pooling_param { kernel_size: 2 pool: STOCHASTIC }")},
      {"DepthwiseConvolution", image,
       conv("DepthwiseConvolution", "num_output: 4 kernel_size: 3 group: 4")},
      {"ConvolutionDepthwise", image,
       conv("ConvolutionDepthwise", "num_output: 4 kernel_size: 3 stride: 2")},
      {"ROIPooling",
       {3, 4, 5, 6},
       with_bottoms("ROIPooling", "data label1", "y",
                    "roi_pooling_param { pooled_h: 2 pooled_w: 3 spatial_scale: 1.5 }"),
       {},
       {{3, 5}}},
  };
}

inline std::vector<LayerCase> sequence_cases() {
  const Shape steps{3, 2, 4};
  const std::string param =
      concat("recurrent_param { num_output: 3 expose_hidden: true ", kFill, " }");
  const std::string silence = "layer { name: 's' type: 'Silence' bottom: 'h' }\n";
  const std::string both = silence + "layer { name: 's2' type: 'Silence' bottom: 'c' }\n";
  return {
      {"LSTM",
       steps,
       with_bottoms("LSTM", "data label1 label2 label3", "y h c", param) + both,
       {},
       {{3, 2}, {1, 2, 3}, {1, 2, 3}}},
      {"LSTM with a static input",
       steps,
       with_bottoms("LSTM", "data label1 in1 label2 label3", "y h c", param) + both,
       {{2, 5}},
       {{3, 2}, {1, 2, 3}, {1, 2, 3}}},
      {"RNN",
       steps,
       with_bottoms("RNN", "data label1 label2", "y h", param) + silence,
       {},
       {{3, 2}, {1, 2, 3}}},
      {"RNN with a static input",
       steps,
       with_bottoms("RNN", "data label1 in1 label2", "y h", param) + silence,
       {{2, 5}},
       {{3, 2}, {1, 2, 3}}},
      {"LSTMUnit",
       {1, 2, 12},
       with_bottoms("LSTMUnit", "in1 data label1", "c h") +
           "layer { name: 'j' type: 'Concat' bottom: 'c' bottom: 'h' top: 'y' concat_param { axis: "
           "2 } }\n",
       {{1, 2, 3}},
       {{1, 2}}},
  };
}

inline std::vector<LayerCase> norm_cases() {
  const Shape image{2, 4, 5, 6};
  return {
      {"MVN", image, one("MVN", "")},
      {"MVN across channels", image, one("MVN", "mvn_param { across_channels: true }")},
      {"MVN, mean alone", image, one("MVN", "mvn_param { normalize_variance: false }")},
      {"Normalize", image, one("Normalize", "")},
      {"Normalize, each position", image,
       one("Normalize", "norm_param { across_spatial: false channel_shared: false }")},
      {"Axpy", image, with_bottoms("Axpy", "in1 data in2", "y"), {{2, 4, 1, 1}, image}},
      {"BatchNorm with a scale and a bias", image,
       one("BatchNorm", "batch_norm_param { scale_bias: true }")},
  };
}

}  // namespace pcc
