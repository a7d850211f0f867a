// What an op computes, as plain data: one struct per primitive, and OpDesc, the union of them.
// Layers lower to these; backends answer them. Axes letters: N samples, C channels, H W rows and
// columns; x inputs, y outputs, w parameters. Each comment lists ins -> outs and the parameters in
// order. Diffs follow one rule everywhere:
//   din is overwritten; dparams are ADDED to (but see Op::overwrites); dout arrives as one part per
//   reader, to be summed (OpNeeds).
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "core/random.h"
#include "core/tensor.h"
#include "ops/detection_desc.h"
#include "ops/loss_desc.h"
#include "ops/shape_desc.h"

namespace pcc {

// x (N, C, d1..dk) -> y (N, O, e1..ek); params: w (O, C/group, kernel..), [bias (O)].
// transposed: the Deconvolution layer; w is (C, O/group, kernel..). moments: 0, or of how many
// equal parts of the batch means and biased variances of y's channels are wanted as well, in a
// second output (moments, O, 2) (Backend::gives_moments). prologue: 0, or x = relu((z - mean)
// * scale + shift) lies nowhere and is made of z as that is read; ins: x, which has no memory, z,
// like x, and (prologue, C, 3), mean, scale and shift in as many equal parts of the batch; x alone
// gets a gradient (Backend::prologue_cost).
struct ConvDesc {
  std::vector<int64_t> kernel, stride, pad, dilation;  // one entry per spatial axis
  int64_t group = 1;
  bool bias = true;
  bool transposed = false;
  int64_t moments = 0;
  int64_t prologue = 0;
};

// x (N, C, H, W) -> y (N, C, P, Q) [, mask: index of the maximum in its plane]. Output sizes stand
// in the site (Caffe rounds up). AVE divides by the window clipped to [-pad, size + pad); MAX keeps
// the first of ties, and an empty window (Caffe allows it) gives -FLT_MAX for MAX and 0/0 for AVE.
// stochastic, of values that are not negative: training takes one of the window's with a chance in
// proportion to it, drawn from the layer's RandomStream by its place in y; else (not `sample`) the
// sum of squares over the sum.
struct PoolDesc {
  enum class Method { max, average, stochastic } method = Method::max;
  int64_t kernel[2] = {1, 1}, stride[2] = {1, 1}, pad[2] = {0, 0};
  bool sample = false;
};

// x (N, C, H, W) -> y, same shape. Across channels: y = x * (k + alpha/size * sum of x^2 over
// `size` channels)^-beta. Within channel: y = x * (1 + alpha * AVE-pooled x^2)^-beta over size x
// size windows with Caffe's clipped divisor; k is ignored.
struct LrnDesc {
  bool across = true;
  int64_t size = 5;
  double alpha = 1, beta = 0.75, k = 1;
};

// BatchNorm, and what may be fused behind it: [Scale] [Eltwise SUM with a second value] [ReLU].
// ins: x (N, C, spatial..) [, addend like x] [, moments: of x's groups, from the ConvDesc that made
// x] -> y like x. params: mean (C), variance (C), factor (1) [, gain (C) [, shift (C)]]. y =
// relu(gain * (x - mean) / sqrt(variance + eps) + shift + addend). Not use_global_stats: mean and
// biased variance of the batch; then factor = fraction * factor + 1, mean and variance parameters =
// fraction * old + batch value (variance times m/(m-1), m = N*spatial/groups). use_global_stats:
// parameters divided by factor, or zeros where factor is 0. groups: the batch is cut in that many
// equal parts (replicas) with statistics of their own; the running statistics are those of part 0.
// The three statistics get no gradient. groups > 1 and use_global_stats exclude each other in
// meaning: with global statistics groups is ignored, and is 1. deferred: y is not written, as its
// readers make it themselves (ConvDesc::prologue); a second output, (groups, C, 3), says how.
struct NormActDesc {
  double eps = 1e-5, fraction = 0.999;
  bool use_global_stats = false;
  int64_t groups = 1;
  bool gain = false, shift = false;  // shift only together with gain
  bool add = false;
  bool moments = false;
  bool deferred = false;
  bool relu = false;
  double negative_slope = 0;
};

// Scale and Bias layers: y[o, d, i] = x[o, d, i] * scale[d] + bias[d], x seen as (outer, dim,
// inner). scale/bias is the next input where *_from_input, else the next parameter. ins: x [,
// scale] [, bias].
struct AffineDesc {
  int64_t outer = 1, dim = 1, inner = 1;
  bool scale = true, scale_from_input = false;
  bool bias = false, bias_from_input = false;
};

// y = f(x), element by element. Functions of later layer types join the enum; `a`, `b` and `c` are
// their constants. params: prelu's w: one number, or one for each channel (axis 1 of x).
struct PointwiseDesc {
  enum class Function {
    relu,       // x > 0 ? x : a * x
    sigmoid,    // 1 / (1 + exp(-x))
    prelu,      // x > 0 ? x : w * x
    absval,     // |x|
    bnll,       // log(1 + exp(x))
    clip,       // min(max(x, a), b); the gradient passes at both bounds
    elu,        // x > 0 ? x : a * (exp(x) - 1)
    exp,        // a * exp(b * x)
    log,        // a * log(b * x + c)
    power,      // (b * x + c) ^ a
    swish,      // x / (1 + exp(-a * x))
    tanh,       // tanh(x)
    threshold,  // x > a ? 1 : 0; no gradient
  } function = Function::relu;
  double a = 0, b = 0, c = 0;
  // The layer stands in place: what Caffe's gradient reads as x is y by then (bnll, clip, elu).
  bool x_is_y = false;

  const char* name() const {
    static constexpr const char* kNames[] = {"relu",  "sigmoid", "prelu",    "absval", "bnll",
                                             "clip",  "elu",     "exp",      "log",    "power",
                                             "swish", "tanh",    "threshold"};
    return kNames[static_cast<size_t>(function)];
  }
};

// y = x * mask / (1 - ratio) in training; mask drawn from the layer's RandomStream: kept where
// bits(element) > threshold(). Element order is that of the plain layout.
struct DropoutDesc {
  double ratio = 0.5;
  uint32_t threshold() const { return static_cast<uint32_t>(ratio * 4294967295.0); }
};

// ins: two or more of one shape -> y. SUM takes coefficients; PROD's gradient is y/x or, where
// stable, the product of the others. MAX routes the gradient to one input, as Caffe does: input 0
// wins only where strictly larger than input 1; a later one only where strictly larger than the
// maximum so far.
struct EltwiseDesc {
  enum class Operation { product, sum, max } operation = Operation::sum;
  std::vector<double> coeff;  // one per input, for sum
  bool stable_product = true;
};

// InnerProduct: x (M, K) -> y (M, N); params: w (N, K), or (K, N) where transpose, [bias (N)].
// Inputs of more axes arrive in their own shape: M = product of the first axes, K of the rest.
struct GemmDesc {
  int64_t m = 1, k = 1, n = 1;
  bool transpose = false, bias = true;
};

// x (M): row numbers -> y (M, N): rows of the table; params: w (K, N), [bias (N)]. The inputs get
// no gradient. A number outside [0, K) raises a data error.
struct EmbedDesc {
  static constexpr const char* kName = "embed";
  bool bias = true;
};

// A parameter as a value: no ins -> y; params: w, like y.
struct ParameterDesc {
  static constexpr const char* kName = "parameter";
};

// x, cut at `axis` into rows -> y = (x - mean) [/ (deviation + eps)], the row's own, biased. dx =
// (dy - mean of dy - y * mean of (y dy)) / (deviation + eps), as mvn_layer.cpp has it.
struct MvnDesc {
  static constexpr const char* kName = "mvn";
  int axis = 2;
  bool variance = true;
  double eps = 1e-9;
};

// x (N, C, H, W) -> y = scale[c] * x / norm; norm: the root of (eps + the sum of squares), over all
// of a sample where across_spatial, else over the channels of each position. params: scale: (C), or
// one number.
struct NormalizeDesc {
  static constexpr const char* kName = "normalize";
  bool across_spatial = true;
  double eps = 1e-10;
};

// One layer of a recurrent net over T steps of N sequences each. ins: z (T, N, G), the steps'
// inputs after their weights and biases; cont (T, N): 0 where a sequence begins, else 1 [, first
// state: h (1, N, H) and, of an lstm, c (1, N, H)]. -> h (T, N, H) [, last state, the same].
// params: w (G, H). lstm: G = 4 H: gates input, forget, output, and candidate; rnn: G = H.
//   s = cont * h_before; u = z + w s; rnn: h = tanh(u); lstm: i, f, o = sigmoid(u..), g = tanh(u),
//   c = cont * f * c_before + i * g, h = o * tanh(c).
// Not `exposed`: the state goes on from one call of forward to the next, from zeros. The states get
// no gradient, and pass none on, as in recurrent_layer.cpp.
struct RecurrentDesc {
  static constexpr const char* kName = "recurrent";
  enum class Cell { lstm, rnn } cell = Cell::lstm;
  bool exposed = false;
};

// One step of an lstm: c_before (1, N, H), u (1, N, 4 H), cont (1, N) -> c, h (1, N, H).
struct LstmUnitDesc {
  static constexpr const char* kName = "lstm unit";
};

// How a blob is filled; Caffe's FillerParameter.
struct FillerDesc {
  enum class Type {
    constant,
    uniform,
    gaussian,
    xavier,
    msra,
    unitball,
    bilinear
  } type = Type::constant;
  double value = 0, min = 0, max = 1, mean = 0, std = 1;
  int64_t sparse = -1;
  enum class Fan { in, out, average } variance_norm = Fan::in;
  // The numbers themselves, one for each element: then nothing else here counts.
  std::shared_ptr<const std::vector<double>> values;
};

// DummyData: -> y, filled anew at each pass (constants: once).
struct FillDesc {
  FillerDesc filler;
};

// Data layer: no ins -> data (N, C, crop, crop) [, labels (N)].
// y = (x - mean) * scale, cropped and mirrored. mean: empty, one per channel, or a whole (C, H, W)
// picture. Random draws per sample n from the layer's RandomStream: element 3n+0: mirror (bits &
// 1), 3n+1: row offset (bits % range), 3n+2: column. train: random crop; else the centre. mirror
// applies in both (Caffe). replicas R: with record k of the batch going to sample (k % R) * (N / R)
// + k / R.
struct TransformDesc {
  int feed = 0;  // Context::feeds: field 0 are the records, field 1 the labels
  Shape record;  // (C, H, W)
  std::shared_ptr<const std::vector<float>> mean;
  double scale = 1;
  bool mirror = false, train = false;
  int64_t crop = 0;  // 0: none
  int64_t replicas = 1;
};

// Where a crop begins along one side of a record that is `room` larger: anywhere when training, by
// that draw of the stream, else in the middle.
constexpr int64_t crop_offset(bool train, int64_t room, const RandomStream& stream, uint64_t draw) {
  if (room == 0) return 0;
  return train ? stream.bits(draw) % static_cast<uint32_t>(room + 1) : room / 2;
}

// Data layer: no ins -> y (N, the shape of a record's field): one field of the next N records, as
// it is. replicas: as in TransformDesc.
struct FieldDesc {
  int feed = 0;   // Context::feeds
  int field = 0;  // of its records
  int64_t replicas = 1;
};

// The losses of a pass: ins: loss tops, of any shape -> each times its weight (one double per in).
// Only the first `counts` elements of each are summed, those of replica 0. Within an iteration the
// total goes to the step's report, which is told of one that is no number. Made beside the plan.
struct TallyDesc {
  std::vector<double> weights;
  std::vector<int64_t> counts;
};

// Sums over passes, as a test takes them: ins: values of any form -> their sums, each in double and
// laid out as the value, to which this pass's are added. Made beside the plan.
struct AccumulateDesc {};

// The sum over all ranks of the values of params[0], in their place. begin: it may go on beside
// what is asked for next, until a join, which has no params. Made beside the plan.
class Group;
struct AllReduceDesc {
  std::shared_ptr<Group> group;
  enum class Part { whole, begin, join } part = Part::whole;
};

// A function of the user's: any ins -> any outs, with any params, called back with plain arrays in
// host memory (ops/host.h). over: pairs of an output and the input over which it stands, as Caffe's
// in-place layers have it: forward copies the one to the other before the call.
class HostFunction;
struct HostOpDesc {
  std::shared_ptr<HostFunction> function;
  std::vector<std::pair<int, int>> over;
};

// x -> y, same shape, another layout or type. Inserted by the planner.
struct ReorderDesc {};

// x -> y, same shape and form, from the device's memory to the host's or back. Inserted by the
// planner, which makes it itself.
struct TransferDesc {
  bool to_host = true;
};

// The sum of several parts of a diff, in order. ins: parts -> their sum. Inserted by the planner in
// the backward pass.
struct SumDesc {};

// The solver's step over all parameters, which lie in one block of floats: params: w, dw, then the
// rule's histories, each a block like w. In Caffe's order: clip (L2 norm of all dw, over iter_size
// sums), divide by iter_size, decay into the gradient, rule, w -= update. dw is left holding the
// update that was subtracted, as in Caffe. The formulas: csrc/backends/reference/update.cpp.
struct UpdateSegment {
  int64_t offset = 0, count = 0;  // in elements
  float lr_mult = 1, decay_mult = 1;
};
struct UpdateDesc {
  enum class Rule { sgd, nesterov, adagrad, rmsprop, adadelta, adam } rule = Rule::sgd;
  // Fields of SolverParameter, for the rules that read them.
  float delta = 1e-8f;       // keeps roots away from 0: AdaGrad, RMSProp, AdaDelta, Adam
  float momentum2 = 0.999f;  // of Adam's second history
  float rms_decay = 0.99f;   // RMSProp
  std::vector<UpdateSegment>
      segments;  // one per learnable parameter, in order; parameters without one are left alone
  bool l1 = false;
  double clip = -1;  // threshold; negative: off
  int64_t iter_size = 1;

  // Blocks that the rule keeps from one update to the next (ops/rules.h).
  int histories() const;
};

using AnyDesc =
    std::variant<ConvDesc, PoolDesc, LrnDesc, NormActDesc, AffineDesc, PointwiseDesc, DropoutDesc,
                 EltwiseDesc, ConcatDesc, SliceDesc, GemmDesc, SoftmaxDesc, SoftmaxLossDesc,
                 AccuracyDesc, FillDesc, TransformDesc, FieldDesc, TallyDesc, AccumulateDesc,
                 AllReduceDesc, HostOpDesc, TransferDesc, ReorderDesc, SumDesc, UpdateDesc,
                 ArgMaxDesc, BatchReindexDesc, CropDesc, EmbedDesc, FilterDesc, Im2colDesc,
                 InterpDesc, MvnDesc, NormalizeDesc, ParameterDesc, PermuteDesc, ReductionDesc,
                 TileDesc, DistanceLossDesc, HingeLossDesc, InfogainLossDesc, LogLossDesc,
                 SigmoidLossDesc, RecurrentDesc, LstmUnitDesc, RoiPoolDesc, ProposalDesc,
                 DetectionDesc, SmoothLossDesc, MultiBoxDesc, EvaluationDesc>;

// A class of its own, so that its copies, moves and end, each a table of all kinds, are compiled
// once (op.cpp) and not in every file.
struct OpDesc : AnyDesc {
  OpDesc();
  template <typename Desc>
    requires std::is_constructible_v<AnyDesc, Desc>
  OpDesc(Desc desc) : AnyDesc(std::move(desc)) {}
  OpDesc(const OpDesc&);
  OpDesc(OpDesc&&) noexcept;
  OpDesc& operator=(const OpDesc&);
  OpDesc& operator=(OpDesc&&) noexcept;
  ~OpDesc();
};

// "conv", "pool", "norm+scale+add+relu": for plans and errors.
std::string name_of(const OpDesc& desc);
// Whether the plain loops are what the host has for it: then there is nothing to tell of when they
// run.
bool is_plain_on_host(const OpDesc& desc);

}  // namespace pcc
