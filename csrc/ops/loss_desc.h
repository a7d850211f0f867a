// Descriptors of losses and of what is measured on scores. How to read them: ops/desc.h.
//
// Losses are scalars; groups: replicas: each part of the batch has its own normalizer, the loss is
// that of part 0, and dloss comes to each part. A label outside [0, C) that is not ignored raises a
// data error naming the sample.
#pragma once

#include <cstdint>

namespace pcc {

struct SoftmaxDesc {
  int axis = 1;
};

// What a sum over predictions is divided by, at least 1: their number; that of those not ignored;
// that of the samples; 1.
enum class Normalization { full, valid, batch_size, none };

// SoftmaxWithLoss: ins: scores (outer, C, inner) cut at `axis`, labels (outer * inner) -> loss
// [, probabilities]. loss = sum of -log(max(p, FLT_MIN)) / normalizer; gradient (p - 1[label]) *
// dloss / normalizer.
struct SoftmaxLossDesc {
  int axis = 1;
  bool has_ignore_label = false;
  int64_t ignore_label = 0;
  Normalization normalization = Normalization::valid;
  int64_t groups = 1;
};

// InfogainLoss: scores and labels as above, gains H (C, C) -> loss [, probabilities]. loss = sum
// over classes c of -H[label, c] * log(max(p[c], 1e-20)) / normalizer; gradient (p[c] * sum of
// H[label] - H[label, c]) * dloss / normalizer.
struct InfogainLossDesc {
  static constexpr const char* kName = "infogain loss";
  SoftmaxLossDesc scores;
};

// MultinomialLogisticLoss: ins: probabilities (N, C), labels (N) -> loss = sum of
// -log(max(p[label], 1e-20)) / N.
struct LogLossDesc {
  static constexpr const char* kName = "log loss";
  int64_t groups = 1;
};

// HingeLoss: ins: scores (N, C), labels (N) -> loss = sum of max(0, 1 - t x), or of its square, /
// N; t: 1 for the label's class, -1 for the others.
struct HingeLossDesc {
  static constexpr const char* kName = "hinge loss";
  bool squared = false;
  int64_t groups = 1;
};

// SigmoidCrossEntropyLoss: ins: x (N, D), targets, the same -> loss = sum of -(t log(p) + (1 - t)
// log(1 - p)) / normalizer, p = sigmoid(x). Targets that are the label to ignore do not count.
struct SigmoidLossDesc {
  static constexpr const char* kName = "sigmoid loss";
  bool has_ignore_label = false;
  int64_t ignore_label = 0;
  Normalization normalization = Normalization::batch_size;
  int64_t groups = 1;
};

// Of two values (N, D) with squared distances d^2. euclidean: sum of d^2 / (2 N). contrastive: ins
// also: similar (N): sum of (similar ? d^2 : max(margin - d, 0)^2) / (2 N); legacy: max(margin -
// d^2, 0) instead of the latter.
struct DistanceLossDesc {
  static constexpr const char* kName = "distance loss";
  enum class Kind { euclidean, contrastive, legacy } kind = Kind::euclidean;
  double margin = 1;
  int64_t groups = 1;
};

// SmoothL1Loss: ins: a (N, D..), b [, inside [, outside]], all of one shape -> loss = sum of
// outside * f(inside * (a - b)) / N; f(d) = (sigma d)^2 / 2 where |d| < 1 / sigma^2, else |d| - 1 /
// (2 sigma^2). a and b get gradients.
struct SmoothLossDesc {
  static constexpr const char* kName = "smooth loss";
  double sigma = 1;
  int64_t groups = 1;
};

// ins: scores (outer, C, inner), labels -> accuracy (scalar) [, per class (C)]. A tie with the true
// class counts as wrong. Only the first outer/groups samples (replica 0) count.
struct AccuracyDesc {
  int axis = 1;
  int64_t top_k = 1;
  bool has_ignore_label = false;
  int64_t ignore_label = 0;
  int64_t groups = 1;
};

}  // namespace pcc
