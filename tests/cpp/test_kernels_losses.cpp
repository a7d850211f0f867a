// The losses but SoftmaxWithLoss of the CUDA backend against the plain loops.
#include <cmath>

#include "kernel_cases.h"

using namespace pcc;

namespace {

void check(const OpCase& op) { check_kernels(op, 3e-6, cuda_backend()); }

OpCase loss_case(OpDesc desc, const Shape& x, const Shape& target) {
  OpCase op;
  op.desc = std::move(desc);
  op.in = {x, target};
  op.out = {Shape{}};
  return op;
}

OpCase labelled(OpDesc desc, const Shape& x) {
  OpCase op = loss_case(std::move(desc), x, {x[0]});
  op.in_values = {random_values(x.count(), 3, 0.05, 1), label_values(x[0], x.count(1), 4)};
  op.want_din = {true, false};
  return op;
}

OpCase infogain_case(const Shape& scores, SoftmaxLossDesc desc) {
  Shape labels = scores;
  labels[1] = 1;
  OpCase op = loss_case(InfogainLossDesc{desc}, scores, labels);
  op.in.push_back({scores[1], scores[1]});
  op.in_values = {random_values(scores.count(), 3, -4, 4),
                  label_values(labels.count(), scores[1], 4)};
  op.want_din = {true, false, false};
  return op;
}

}  // namespace

TEST(distances) {
  using Kind = DistanceLossDesc::Kind;
  for (const int64_t groups : {1, 2})
    for (const Shape& x : {Shape{6, 5}, Shape{2, 3, 7, 9}, Shape{10, 90}}) {
      check(loss_case(DistanceLossDesc{Kind::euclidean, 1, groups}, x, x));
      for (const Kind kind : {Kind::contrastive, Kind::legacy})
        for (const double margin : {1.0, 6.0, 300.0}) {
          OpCase op = loss_case(DistanceLossDesc{kind, margin, groups}, x, x);
          op.in.push_back({x[0]});
          op.in_values = {{}, {}, label_values(x[0], 2, 9)};
          op.want_din = {true, true, false};
          check(op);
        }
    }
}

TEST(smooth_distances) {
  for (const double sigma : {0.7, 1.0, 3.0})
    for (const size_t inputs : {2, 3, 4}) {
      OpCase op = loss_case(SmoothLossDesc{sigma, 2}, {4, 3, 20}, {4, 3, 20});
      op.in.resize(inputs, op.in[0]);
      op.want_din.assign(inputs, false);
      op.want_din[0] = op.want_din[1] = true;
      check(op);
    }
}

TEST(margins) {
  for (const bool squared : {false, true})
    for (const int64_t groups : {1, 3})
      for (const Shape& x : {Shape{6, 10}, Shape{9, 2, 3, 2}, Shape{60, 200}})
        check(labelled(HingeLossDesc{squared, groups}, x));
}

TEST(logarithms_of_probabilities) {
  for (const int64_t groups : {1, 2})
    for (const Shape& x : {Shape{6, 10}, Shape{60, 200}}) check(labelled(LogLossDesc{groups}, x));
}

TEST(sigmoid_cross_entropy) {
  for (const Normalization normalization :
       {Normalization::full, Normalization::valid, Normalization::batch_size, Normalization::none})
    for (const bool ignore : {false, true})
      for (const Shape& x : {Shape{4, 3}, Shape{6, 2, 30, 10}}) {
        OpCase op = loss_case(SigmoidLossDesc{ignore, 1, normalization, 2}, x, x);
        op.in_values = {random_values(x.count(), 3, -5, 5), label_values(x.count(), 3, 4)};
        op.want_din = {true, false};
        check(op);
      }
}

TEST(information_gains) {
  for (const Normalization normalization : {Normalization::valid, Normalization::batch_size})
    for (const bool shows : {false, true})
      for (const Shape& scores : {Shape{6, 10}, Shape{4, 40}, Shape{2, 7, 4, 5}}) {
        SoftmaxLossDesc desc;
        desc.has_ignore_label = true;
        desc.ignore_label = 2;
        desc.normalization = normalization;
        desc.groups = 2;
        OpCase op = infogain_case(scores, desc);
        if (shows) {
          op.out.push_back(scores);
          op.dout_parts = {1, 0};
        }
        check(op);
      }
}

TEST(a_label_out_of_range_is_named) {
  for (OpCase op : {labelled(HingeLossDesc{}, {3, 5}), labelled(LogLossDesc{}, {3, 5}),
                    infogain_case({3, 5}, {})})
    for (const double label : {5.0, -1.0, std::nan("")}) {
      op.in_values[1] = {0, label, 7};
      CHECK_THROWS_WITH("the label of sample 1 of the batch",
                        run_op(op, cuda_backend(), DType::f32));
    }
}
