// Records turned into samples, and fillers, on the reference backend.
#include <memory>

#include "core/random.h"
#include "list_feed.h"
#include "op_harness.h"
#include "testing.h"

namespace {

using pcc::DType;
using pcc::OpCase;
using pcc::OpResult;
using pcc::RandomStream;
using pcc::Shape;
using pcc::TransformDesc;
using pcc::Values;

// Record r holds the numbers r * 50 + 0, 1, 2 ..; its label is r.
std::shared_ptr<pcc::RecordFeed> counting_feed(const Shape& record, int64_t total, bool is_float) {
  Values values;
  for (int64_t r = 0; r < total; ++r)
    for (int64_t i = 0; i < record.count(); ++i) values.push_back(static_cast<double>(r * 50 + i));
  return std::make_shared<pcc::ListFeed>(record, values, is_float);
}

OpCase transform(TransformDesc desc, int64_t samples, const Shape& record, int64_t total = 3,
                 bool is_float = false) {
  OpCase op;
  op.feeds = {counting_feed(record, total, is_float)};
  desc.record = record;
  const int64_t rows = desc.crop ? desc.crop : record[1],
                columns = desc.crop ? desc.crop : record[2];
  op.out = {{samples, record[0], rows, columns}, {samples}};
  op.desc = std::move(desc);
  return op;
}

OpResult run(const OpCase& op) { return run_op(op, "reference", DType::f32); }

TEST(records_in_order_and_around_the_end) {
  for (const bool is_float : {false, true}) {
    OpCase op = transform({}, 2, {1, 1, 2}, 3, is_float);
    op.steps = 2;
    const OpResult got = run(op);
    CHECK_EQ(got.out[0], (Values{100, 101, 0, 1}));
    CHECK_EQ(got.out[1], (Values{2, 0}));
  }
}

TEST(replicas_take_every_rth_record) {
  TransformDesc desc;
  desc.replicas = 2;
  const OpResult got = run(transform(desc, 6, {1, 1, 1}, 5));
  CHECK_EQ(got.out[1], (Values{0, 2, 4, 1, 3, 0}));
  CHECK_EQ(got.out[0], (Values{0, 100, 200, 50, 150, 0}));
}

TEST(fields_of_every_type_are_taken_as_they_are) {
  const auto take = [](int field, const Shape& out, const std::string& backend, DType dtype) {
    OpCase op;
    op.feeds = {std::make_shared<pcc::FieldsFeed>(3)};
    op.desc = pcc::FieldDesc{0, field, 2};
    op.out = {out};
    return run_op(op, backend, dtype).out[0];
  };
  for (const auto& [backend, dtype] :
       {std::pair{"reference", DType::f32}, {"reference", DType::f64}, {"cpu", DType::f32}}) {
    // Of records 0, 1, 2 and 0 again every second one.
    CHECK_EQ(take(0, {4, 2, 2}, backend, dtype),
             (Values{0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3}));
    CHECK_EQ(take(1, {4}, backend, dtype), (Values{0, -200, -100, 0}));
    CHECK_EQ(take(2, {4, 3}, backend, dtype),
             (Values{0.25, 0.5, 0.75, 2.25, 2.5, 2.75, 1.25, 1.5, 1.75, 0.25, 0.5, 0.75}));
  }
}

TEST(mean_and_scale) {
  TransformDesc desc;
  desc.scale = 0.5;
  desc.mean = std::make_shared<std::vector<float>>(std::vector<float>{1, 2});
  const OpResult channels = run(transform(desc, 1, {2, 1, 2}));
  CHECK_EQ(channels.out[0], (Values{-0.5, 0, 0, 0.5}));
  desc.mean = std::make_shared<std::vector<float>>(std::vector<float>{4, 3, 2, 1});
  const OpResult picture = run(transform(desc, 1, {2, 1, 2}));
  CHECK_EQ(picture.out[0], (Values{-2, -1, 0, 1}));
}

TEST(test_crop_is_the_centre) {
  TransformDesc desc;
  desc.crop = 2;
  const OpResult got = run(transform(desc, 1, {1, 4, 5}));
  CHECK_EQ(got.out[0], (Values{6, 7, 11, 12}));
}

// The mean picture is cropped with the record, and mirroring comes last.
TEST(train_crop_and_mirror_follow_the_random_stream) {
  TransformDesc desc;
  desc.crop = 3;
  desc.train = desc.mirror = true;
  std::vector<float> mean(40);
  for (size_t i = 0; i < mean.size(); ++i) mean[i] = static_cast<float>(i * i);
  desc.mean = std::make_shared<std::vector<float>>(mean);
  const Shape record{2, 4, 5};
  OpCase op = transform(desc, 8, record, 4);
  const OpResult got = run(op);
  const RandomStream stream{op.state.seed, op.state.net, pcc::hash_name("test"), op.state.pass};
  bool mirrored = false, straight = false;
  size_t at = 0;
  for (uint64_t n = 0; n < 8; ++n) {
    const bool mirror = stream.bits(3 * n) & 1;
    (mirror ? mirrored : straight) = true;
    const int64_t row = stream.bits(3 * n + 1) % 2, column = stream.bits(3 * n + 2) % 3;
    for (int64_t c = 0; c < 2; ++c)
      for (int64_t h = 0; h < 3; ++h)
        for (int64_t w = 0; w < 3; ++w, ++at) {
          const int64_t source = (c * 4 + row + h) * 5 + column + (mirror ? 2 - w : w);
          CHECK_EQ(got.out[0][at], static_cast<double>(static_cast<int64_t>(n) % 4 * 50 + source -
                                                       source * source));
        }
  }
  CHECK(mirrored && straight);
}

TEST(fill_draws_by_pass) {
  OpCase op;
  op.desc = pcc::FillDesc{{.type = pcc::FillerDesc::Type::uniform, .min = 2, .max = 3}};
  op.out = {{3, 4}};
  const OpResult first = run(op);
  for (const double value : first.out[0]) CHECK(value >= 2 && value < 3);
  const OpResult again = run(op);
  CHECK(first.out == again.out);
  op.state.pass = 1;
  const OpResult next = run(op);
  CHECK(first.out != next.out);
  op.desc = pcc::FillDesc{{.type = pcc::FillerDesc::Type::constant, .value = 1.5}};
  const OpResult constant = run(op);
  CHECK_EQ(constant.out[0], Values(12, 1.5));
}

}  // namespace
