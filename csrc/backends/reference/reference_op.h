// What the reference ops share: loops over threads, and sums over many numbers.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "backends/reference/convert.h"
#include "core/parallel.h"
#include "ops/field.h"
#include "ops/op.h"
#include "ops/tally.h"
#include "ops/typed_op.h"

namespace pcc::reference {

// Ranges of at least this many cheap elements are worth a thread.
inline constexpr int64_t kGrain = 4096;

// An op over T, float or double, with everything in plain layout.
template <typename T>
class ReferenceOp : public TypedOp<T> {
 public:
  using TypedOp<T>::TypedOp;

  OpNeeds needs() const override {
    OpNeeds needs = TypedOp<T>::needs();
    needs.overwrites_dparams = true;
    return needs;
  }
  std::string implementation() const override { return "plain loops"; }

 protected:
  // Gives a parameter's gradient a number, or adds it (Op::overwrites).
  void give(const Context& context, int i, int64_t at, double sum) const {
    T& to = this->dparam(i)[at];
    to = static_cast<T>(this->overwrites(context, static_cast<size_t>(i)) ? sum : to + sum);
  }
};

// Sum of value(0) .. value(count - 1) in double, in one fixed order that the compiler can
// vectorise.
template <typename Value>
double sum_of(int64_t count, Value&& value) {
  constexpr int kLanes = 8;
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += static_cast<double>(value(i + lane));
  for (int lane = 0; i < count; ++i, ++lane) lanes[lane] += static_cast<double>(value(i));
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
         ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

// For each element: body(i), spread over threads.
template <typename Body>
void for_each(int64_t count, Body&& body) {
  parallel(count, kGrain, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) body(i);
  });
}

// For each of `count` independent pieces of `size` elements each: body(i).
template <typename Body>
void for_each_piece(int64_t count, int64_t size, Body&& body) {
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, size));
  parallel(count, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) body(i);
  });
}

// The makers, one per descriptor; each is instantiated for float and double in its family's file.
using OpPointer = std::unique_ptr<Op>;
#define PCC_REFERENCE_MAKER(Desc) \
  template <typename T>           \
  OpPointer make_op(const Desc& desc, const OpSite& site);
PCC_REFERENCE_MAKER(ConvDesc)
PCC_REFERENCE_MAKER(PoolDesc)
PCC_REFERENCE_MAKER(LrnDesc)
PCC_REFERENCE_MAKER(NormActDesc)
PCC_REFERENCE_MAKER(AffineDesc)
PCC_REFERENCE_MAKER(PointwiseDesc)
PCC_REFERENCE_MAKER(DropoutDesc)
PCC_REFERENCE_MAKER(EltwiseDesc)
PCC_REFERENCE_MAKER(ConcatDesc)
PCC_REFERENCE_MAKER(SliceDesc)
PCC_REFERENCE_MAKER(GemmDesc)
PCC_REFERENCE_MAKER(SoftmaxDesc)
PCC_REFERENCE_MAKER(SoftmaxLossDesc)
PCC_REFERENCE_MAKER(AccuracyDesc)
PCC_REFERENCE_MAKER(FillDesc)
PCC_REFERENCE_MAKER(TransformDesc)
PCC_REFERENCE_MAKER(SumDesc)
PCC_REFERENCE_MAKER(UpdateDesc)
PCC_REFERENCE_MAKER(ArgMaxDesc)
PCC_REFERENCE_MAKER(BatchReindexDesc)
PCC_REFERENCE_MAKER(CropDesc)
PCC_REFERENCE_MAKER(EmbedDesc)
PCC_REFERENCE_MAKER(FilterDesc)
PCC_REFERENCE_MAKER(Im2colDesc)
PCC_REFERENCE_MAKER(InterpDesc)
PCC_REFERENCE_MAKER(MvnDesc)
PCC_REFERENCE_MAKER(NormalizeDesc)
PCC_REFERENCE_MAKER(ParameterDesc)
PCC_REFERENCE_MAKER(PermuteDesc)
PCC_REFERENCE_MAKER(ReductionDesc)
PCC_REFERENCE_MAKER(TileDesc)
PCC_REFERENCE_MAKER(DistanceLossDesc)
PCC_REFERENCE_MAKER(HingeLossDesc)
PCC_REFERENCE_MAKER(InfogainLossDesc)
PCC_REFERENCE_MAKER(LogLossDesc)
PCC_REFERENCE_MAKER(SigmoidLossDesc)
PCC_REFERENCE_MAKER(RecurrentDesc)
PCC_REFERENCE_MAKER(LstmUnitDesc)
PCC_REFERENCE_MAKER(RoiPoolDesc)
PCC_REFERENCE_MAKER(ProposalDesc)
PCC_REFERENCE_MAKER(DetectionDesc)
PCC_REFERENCE_MAKER(SmoothLossDesc)
PCC_REFERENCE_MAKER(MultiBoxDesc)
PCC_REFERENCE_MAKER(EvaluationDesc)
template <typename T>
OpPointer make_op(const FieldDesc& desc, const OpSite& site) {
  return std::make_unique<HostField<T>>(desc, site);
}
template <typename T>
OpPointer make_op(const TallyDesc& desc, const OpSite& site) {
  (void)site;
  return std::make_unique<HostTally<T>>(desc);
}
template <typename T>
OpPointer make_op(const AccumulateDesc&, const OpSite&) {
  return std::make_unique<HostAccumulate>();
}
template <typename T>
OpPointer make_op(const ReorderDesc&, const OpSite& site) {
  return make_convert(site);
}
template <typename T>
OpPointer make_op(const TransferDesc&, const OpSite&) {
  return nullptr;
}

}  // namespace pcc::reference

// Makes both instances of one maker, from a class template Class<T>(desc, site).
#define PCC_REFERENCE_OP(Desc, Class)                            \
  template <typename T>                                          \
  OpPointer make_op(const Desc& desc, const OpSite& site) {      \
    return std::make_unique<Class<T>>(desc, site);               \
  }                                                              \
  template OpPointer make_op<float>(const Desc&, const OpSite&); \
  template OpPointer make_op<double>(const Desc&, const OpSite&);
