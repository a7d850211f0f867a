// The losses of a pass, and sums over passes, for every backend whose memory the host can read: a
// few numbers, for which no kernel is worth its call.
#pragma once

#include <cmath>
#include <string>

#include "ops/op.h"

namespace pcc {

// T: float or double, the losses' own type.
template <typename T>
class HostTally : public Op {
 public:
  explicit HostTally(TallyDesc desc) : desc_(std::move(desc)) {}

  void forward(const Context& context) override {
    double total = 0;
    for (size_t i = 0; i < desc_.weights.size(); ++i) {
      double sum = 0;
      for (int64_t k = 0; k < desc_.counts[i]; ++k)
        sum += static_cast<double>(buffers_.in[i].template as<T>()[k]);
      total += buffers_.out[0].template as<double>()[i] = desc_.weights[i] * sum;
    }
    const StepBlock& step = *context.step;
    if (step.parts == 0) return;
    StepReport& report = *context.report;
    double& loss = report.losses[step.iteration % StepReport::kLosses];
    loss = step.part == 0 ? total : loss + total;
    if (step.part + 1 < step.parts) return;
    loss /= step.parts;
    if (std::isfinite(loss) || report.halt != Halt::none) return;
    report.halt = Halt::diverged;
    report.iteration = step.iteration;
  }
  std::string implementation() const override { return "plain loops"; }

 private:
  TallyDesc desc_;
};

class HostAccumulate : public Op {
 public:
  void forward(const Context&) override {
    for (size_t i = 0; i < buffers_.in.size(); ++i) {
      const Tensor& in = buffers_.in[i];
      double* const sums = buffers_.out[i].as<double>();
      if (in.spec.dtype == DType::f32)
        add(in.as<float>(), in.count(), sums);
      else
        add(in.as<double>(), in.count(), sums);
    }
  }
  std::string implementation() const override { return "plain loops"; }

 private:
  template <typename T>
  static void add(const T* values, int64_t count, double* sums) {
    for (int64_t i = 0; i < count; ++i) sums[i] += static_cast<double>(values[i]);
  }
};

}  // namespace pcc
