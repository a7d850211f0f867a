// Runs one op on its own, as the planner would: buffers with guard bytes, stash and scratch filled
// with garbage, values that backward did not ask for destroyed. All values go in and come out as
// plain row-major doubles, whatever the layout.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ops/backends.h"

namespace pcc {

using Values = std::vector<double>;

// An op and everything that it is given. What is left empty gets a sensible default.
struct OpCase {
  OpDesc desc;
  std::vector<Shape> in, params, out;
  Precision precision = Precision::fp32;  // but on the reference backend, which has no other

  std::vector<bool> want_din, want_dparam;  // empty: all
  std::vector<int>
      dout_parts;             // parts per output; empty: one each; 0: that output gets no gradient
  bool forward_only = false;  // wants no gradient at all
  StepBlock state{.seed = 7, .lr = 0.1f, .momentum = 0.9f, .weight_decay = 0.01f};

  std::vector<std::shared_ptr<RecordFeed>> feeds;  // Context::feeds: a batch for every step

  // Values; an empty or missing entry is drawn uniformly from [-1, 1) by the seed.
  std::vector<Values> in_values, param_values;
  std::vector<Values> dout_values;  // per output: the sum of the parts
  uint64_t seed = 1;
  bool first = false;  // backward as in an iteration's first pass (Context::first)
  int steps = 1;  // forward and backward passes of one op object; the results are the last one's
  bool in_place =
      false;  // forward over the input and backward over the output's diff, where the op offers it
  // Values with channels last, and their gradients, lie among the channels of wider ones, and
  // gradients of inputs are added to what is there, where the op offers it.
  bool among_others = false;
};

struct OpResult {
  bool made = false;  // false: the backend left the op to others
  std::string implementation;
  bool offers_among_others = false;  // OpCase::among_others
  std::vector<Values> out;
  std::vector<Values> params;  // after forward: running statistics, updated weights
  std::vector<Values> din,
      dparams;  // empty where not wanted; dparams without what was there before
};

// Uniform numbers in [low, high), the same on every machine, exact in float.
Values random_values(int64_t count, uint64_t seed, double low = -1, double high = 1);
// A shuffle of evenly spaced numbers around 0: all differ by `gap` or more, so that a maximum is no
// kink.
Values distinct_values(int64_t count, uint64_t seed, double gap = 0.01);
// Numbers at least `margin` away from 0.
Values nonzero_values(int64_t count, uint64_t seed, double margin = 0.05);
// Whole numbers 0 .. classes - 1.
Values label_values(int64_t count, int64_t classes, uint64_t seed);

// Where the element with row-major index `index` lies in that layout.
int64_t offset_in_layout(const Shape& shape, Layout layout, int64_t index);
// Whether a value of this shape can lie in that layout.
bool fits_layout(const Shape& shape, Layout layout);

// Those layouts, in one type, on the device.
FormChoice in_layouts(const LayoutChoice& layouts, DType dtype);

// Runs the case. `forms`: those of ins and outs; none: everything plain, in dtype. Throws when the
// op writes out of bounds, needs a stash for forward only, or gives what its needs() forbid.
OpResult run_op(const OpCase& op, const std::string& backend_name, DType dtype,
                const std::optional<FormChoice>& forms = std::nullopt);
OpResult run_op(const OpCase& op, const std::string& backend_name, DType dtype,
                const LayoutChoice& layouts);

// Runs the case on the backend in float, in the forms that it asks for when its inputs arrive in
// each possible layout; with none, one and two parts of the gradient; with each input's and all
// parameters' gradient wanted or not; in place where offered; forward only. Each result must agree
// with the reference backend in double: difference over the largest value at most `tolerance`; none
// may be refused. Returns the names of the implementations that answered. Failures are CHECKs.
std::vector<std::string> compare_with_reference(const OpCase& op, const std::string& backend_name,
                                                double tolerance);

struct GradientCheck {
  double step = 1e-4;       // of the central difference
  double tolerance = 1e-5;  // relative to the larger of both gradients and `floor`
  double floor = 1e-1;
  // Inputs this close to `kink` are skipped: the function has no derivative there.
  double kink = 0, kink_range = -1;
};

// Finite differences of sum(out * dout) on the reference backend in double, for all wanted inputs
// and parameters, as Caffe's GradientChecker does. Failures are CHECKs.
void check_gradient(const OpCase& op, const GradientCheck& check = {});

bool same_bits(const OpResult& a, const OpResult& b);

// Largest difference over the largest magnitude in `expected`; infinity where sizes or NaNs
// disagree.
double relative_difference(const Values& got, const Values& expected);

}  // namespace pcc
