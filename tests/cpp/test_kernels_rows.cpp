// Ops of the CUDA backend that take numbers from rows, planes and boxes, against the plain loops.
#include <cmath>

#include "kernel_cases.h"

using namespace pcc;

namespace {

void check(const OpCase& op, double tolerance = 3e-6) {
  check_kernels(op, tolerance, cuda_backend());
}

OpCase taken(OpDesc desc, const Shape& x, const Shape& y) {
  OpCase op;
  op.desc = std::move(desc);
  op.in = {x};
  op.out = {y};
  return op;
}

OpCase roi_case(const Shape& x, const std::vector<double>& boxes, int64_t rows, int64_t columns,
                double scale) {
  const auto rois = static_cast<int64_t>(boxes.size() / 5);
  OpCase op = taken(RoiPoolDesc{scale}, x, {rois, x[1], rows, columns});
  op.in.push_back({rois, 5});
  op.in_values = {distinct_values(x.count(), 3), boxes};
  op.want_din = {true, false};
  return op;
}

}  // namespace

TEST(reductions) {
  using Operation = ReductionDesc::Operation;
  for (const Operation operation : {Operation::sum, Operation::magnitudes, Operation::squares}) {
    check(taken(ReductionDesc{operation, 0, 0.5}, {2, 3, 4}, {}));
    check(taken(ReductionDesc{operation, 1, -2}, {5, 3, 300}, {5}));
    check(taken(ReductionDesc{operation, 2, 1}, {2, 3, 7}, {2, 3}));
  }
}

TEST(places_of_the_largest) {
  const auto forward = [](ArgMaxDesc desc, const Shape& x, const Shape& y) {
    OpCase op = taken(desc, x, y);
    op.want_din = {false};
    check(op);
    op.in_values = {label_values(x.count(), 4, 7)};  // ties
    check(op);
  };
  for (const bool values : {false, true}) {
    forward(ArgMaxDesc{-1, 3, values}, {5, 4, 15}, {5, values ? 2 : 1, 3});
    forward(ArgMaxDesc{-1, 1, values}, {3, 7}, {3, values ? 2 : 1, 1});
    forward(ArgMaxDesc{1, 2, values}, {3, 6, 4, 5}, {3, 2, 4, 5});
    forward(ArgMaxDesc{2, 40, values}, {2, 3, 40}, {2, 3, 40});
  }
}

TEST(means_and_deviations) {
  for (const bool variance : {false, true})
    for (const Shape& x : {Shape{2, 3, 4, 5}, Shape{3, 2, 20, 30}})
      for (const int axis : {1, 2}) check(taken(MvnDesc{axis, variance, 1e-9}, x, x), 1e-5);
}

TEST(norms) {
  for (const bool across : {false, true})
    for (const bool shared : {false, true})
      for (const Shape& x : {Shape{2, 5, 3, 4}, Shape{3, 40, 2, 9}}) {
        OpCase op = taken(NormalizeDesc{across, 1e-10}, x, x);
        op.params = {shared ? Shape{1} : Shape{x[1]}};
        check(op);
      }
}

TEST(planes_of_another_size) {
  check(taken(InterpDesc{}, {2, 3, 5, 4}, {2, 3, 9, 7}));
  check(taken(InterpDesc{}, {2, 2, 9, 12}, {2, 2, 4, 5}));
  check(taken(InterpDesc{-1, -2}, {1, 2, 8, 9}, {1, 2, 11, 3}));
  check(taken(InterpDesc{}, {1, 2, 6, 5}, {1, 2, 1, 1}));
  check(taken(InterpDesc{}, {1, 2, 1, 1}, {1, 2, 3, 4}));
  check(taken(InterpDesc{}, {1, 1, 30, 31}, {1, 1, 61, 241}));
}

TEST(boxes) {
  const std::vector<double> some = {0, 0, 0, 15, 15, 1, 4, 2,  9,  11, 1, 10, 10, 10, 10,
                                    0, 6, 7, 3,  2,  1, 8, 12, 40, 9,  0, -9, -9, -2, 50};
  check(roi_case({2, 3, 8, 9}, some, 3, 2, 0.5));
  check(roi_case({2, 2, 16, 16}, some, 7, 7, 1));
  OpCase op = roi_case({2, 1, 4, 4}, {0, 0, 0, 3, 3, 2, 0, 0, 3, 3}, 2, 2, 1);
  for (const double sample : {2.0, -1.0, std::nan("")}) {
    op.in_values[1][5] = sample;
    CHECK_THROWS_WITH("index 1 is ", run_op(op, cuda_backend(), DType::f32));
  }
}

TEST(pooling_by_chance) {
  for (const bool sample : {false, true})
    for (const Shape& x : {Shape{2, 3, 6, 7}, Shape{2, 16, 9, 9}}) {
      PoolDesc desc;
      desc.method = PoolDesc::Method::stochastic;
      desc.kernel[0] = desc.kernel[1] = 3;
      desc.stride[0] = desc.stride[1] = 2;
      desc.sample = sample;
      OpCase op = taken(desc, x, {x[0], x[1], (x[2] - 2) / 2 + 1, (x[3] - 2) / 2 + 1});
      op.in_values = {random_values(x.count(), 5, 0, 1)};
      op.forward_only = !sample;
      check(op);
    }
}

TEST(a_step_of_an_lstm) {
  OpCase op = taken(LstmUnitDesc{}, {1, 4, 9}, {1, 4, 9});
  op.in.push_back({1, 4, 36});
  op.in.push_back({1, 4});
  op.out.push_back({1, 4, 9});
  op.in_values = {{}, {}, {1, 0, 1, 0.5}};
  op.want_din = {true, true, false};
  check(op);
  op.dout_parts = {0, 1};
  check(op);
  op.dout_parts = {1, 0};
  check(op);
}
