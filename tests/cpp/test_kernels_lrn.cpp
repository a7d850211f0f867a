// Local response normalisation of the CPU backend against the plain loops.
#include "kernel_cases.h"

using namespace pcc;

namespace {

OpCase lrn(bool across, int64_t size, double beta, const Shape& shape) {
  LrnDesc desc;
  desc.across = across;
  desc.size = size;
  desc.alpha = 0.7;
  desc.beta = beta;
  desc.k = 1.5;
  OpCase op;
  op.desc = desc;
  op.in = op.out = {shape};
  return op;
}

}  // namespace

TEST(across_channels) {
  for (const double beta : {0.75, 0.5})
    for (const int64_t size : {1, 3, 4, 5, 9})
      for (const Shape& shape : {Shape{2, 16, 5, 3}, Shape{3, 7, 9, 9}, Shape{2, 3, 1, 1}})
        check_kernels(lrn(true, size, beta, shape), 3e-6);
}

TEST(within_a_channel) {
  for (const double beta : {0.75, 1.0})
    for (const int64_t size : {1, 3, 5, 9})
      for (const Shape& shape : {Shape{2, 16, 5, 3}, Shape{3, 7, 9, 9}, Shape{2, 8, 1, 1}})
        check_kernels(lrn(false, size, beta, shape), 3e-6);
}
