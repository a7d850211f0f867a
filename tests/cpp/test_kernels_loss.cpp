// SoftmaxWithLoss and Accuracy of the CPU backend against the plain loops.
#include <cmath>

#include "kernel_cases.h"

using namespace pcc;

namespace {

OpCase scored(OpDesc desc, const Shape& scores, int axis) {
  OpCase op;
  op.desc = std::move(desc);
  Shape labels;
  for (int i = 0; i < scores.axes(); ++i)
    if (i != axis) labels.push_back(scores[i]);
  op.in = {scores, labels};
  op.out = {Shape{}};
  op.in_values = {random_values(scores.count(), 3, -4, 4),
                  label_values(labels.count(), scores[axis], 4)};
  op.want_din = {true, false};
  return op;
}

}  // namespace

TEST(softmax_loss) {
  for (const Normalization normalization :
       {Normalization::full, Normalization::valid, Normalization::batch_size, Normalization::none})
    for (const bool ignore : {false, true})
      for (const bool shows : {false, true})
        for (const int64_t groups : {1, 3})
          for (const Shape& shape : {Shape{6, 10}, Shape{96, 40}, Shape{3, 7, 4, 5}}) {
            SoftmaxLossDesc desc;
            desc.has_ignore_label = ignore;
            desc.ignore_label = 2;
            desc.normalization = normalization;
            desc.groups = groups;
            OpCase op = scored(desc, shape, 1);
            if (shows) {
              op.out.push_back(shape);
              op.dout_parts = {1, 0};
            }
            check_kernels(op, 2e-6);
          }
}

TEST(a_hopeless_score_costs_a_finite_loss) {
  OpCase op = scored(SoftmaxLossDesc{}, {2, 2}, 1);
  op.in_values = {{0, 1000, 3, 3}, {0, 1}};
  check_kernels(op, 2e-6);
}

TEST(a_label_out_of_range_is_named) {
  OpCase op = scored(SoftmaxLossDesc{}, {3, 5}, 1);
  for (const double label : {5.0, -1.0, std::nan("")}) {
    op.in_values[1] = {0, label, 1};
    CHECK_THROWS_WITH("the label of sample 1 of the batch", run_op(op, "cpu", DType::f32));
  }
  op = scored(AccuracyDesc{}, {3, 5}, 1);
  op.in_values[1] = {0, 1, 7};
  op.want_din.assign(2, false);
  CHECK_THROWS_WITH("the label of sample 2 of the batch is 7", run_op(op, "cpu", DType::f32));
}

TEST(accuracy) {
  for (const int64_t top_k : {1, 3})
    for (const bool per_class : {false, true})
      for (const Shape& shape : {Shape{30, 10}, Shape{4, 6, 3, 2}}) {
        AccuracyDesc desc;
        desc.top_k = top_k;
        desc.has_ignore_label = true;
        desc.ignore_label = 1;
        desc.groups = 2;
        OpCase op = scored(desc, shape, 1);
        if (per_class) op.out.push_back({shape[1]});
        op.want_din.assign(2, false);
        check_kernels(op, 1e-6);
        op.in_values[0] = label_values(shape.count(), 4, 8);  // ties
        check_kernels(op, 1e-6);
      }
}
