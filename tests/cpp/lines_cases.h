// Ops of the CUDA backend on values whose channels are last, which the host imitates, for tests.
#pragma once

#include "backends/cuda/cuda.h"
#include "backends/cuda/host/modes.h"
#include "core/bfloat16.h"
#include "op_harness.h"
#include "testing.h"

namespace pcc {

// The simulated device, with products of that precision.
inline std::string cuda_host_in(Precision precision) {
  static const bool registered = [] {
    for (const Precision each : {Precision::tf32, Precision::bf16})
      register_backend(name_of(each), [=] { return make_cuda_backend(name_of(each), each); });
    return true;
  }();
  CHECK(registered);
  return name_of(precision);
}

// All values as a format of so few bits holds them, which is then no source of differences.
inline OpCase as_bf16(OpCase op) {
  op.precision = Precision::bf16;
  const auto round = [](std::vector<Values>& list, const std::vector<Shape>& shapes,
                        uint64_t seed) {
    list.resize(shapes.size());
    for (size_t i = 0; i < shapes.size(); ++i) {
      if (list[i].empty()) list[i] = random_values(shapes[i].count(), seed + i);
      for (double& value : list[i]) value = BFloat16(value);
    }
  };
  round(op.in_values, op.in, 11);
  round(op.dout_values, op.out, 12);
  return op;
}

// The op's forms, where its first input comes with channels last.
inline FormChoice forms_of_lines(const OpCase& op, const std::string& backend_name, DType dtype) {
  const std::shared_ptr<Device> device = backend(backend_name).open();
  OpSite site;
  site.device = device.get();
  for (const Shape& shape : op.in) site.in.push_back({shape, DType::f32, Layout::plain});
  for (const Shape& shape : op.out) site.out.push_back({shape, DType::f32, Layout::plain});
  for (const Shape& shape : op.params) site.params.push_back({shape, DType::f32, Layout::plain});
  site.in[0].layout = Layout::nhwc;
  site.in[0].dtype = dtype;
  return backend(backend_name).forms(op.desc, site);
}

// The case, in those forms, in every order of threads, with the same bits.
inline OpResult run_lines(const OpCase& op, const std::string& backend_name,
                          const FormChoice& forms) {
  using namespace cuda::host;
  const OpResult got = run_op(op, backend_name, DType::f32, forms);
  CHECK(got.made);
  const Modes before = modes();
  for (const Modes& other : {Modes{Order::reversed, Streams::late}, Modes{Order::shuffled}}) {
    set_modes(other);
    CHECK(same_bits(run_op(op, backend_name, DType::f32, forms), got));
  }
  set_modes(before);
  return got;
}

// Against the plain loops: differences over the largest value.
struct Tolerance {
  double out, din, dparams;
};
inline void check_result(const OpResult& got, const OpCase& op, const Tolerance& tolerance) {
  const OpResult expected = run_op(op, "reference", DType::f64);
  CHECK(relative_difference(got.out[0], expected.out[0]) <= tolerance.out);
  for (size_t i = 0; i < expected.din.size(); ++i)
    CHECK(relative_difference(got.din[i], expected.din[i]) <= tolerance.din);
  for (size_t i = 0; i < expected.dparams.size(); ++i)
    CHECK(relative_difference(got.dparams[i], expected.dparams[i]) <= tolerance.dparams);
}

}  // namespace pcc
