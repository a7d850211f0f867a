// Data, DummyData, Input, MemoryData.
#include "layer_harness.h"
#include "list_feed.h"
#include "testing.h"

using pcc::BuiltLayer;
using pcc::Shape;

namespace {

pcc::LayerContext fed(const Shape& record, size_t mean = 0, int64_t replicas = 1) {
  pcc::LayerContext context = pcc::with_replicas(replicas);
  context.feed.records = std::make_shared<pcc::ListFeed>(record);
  if (mean > 0) context.feed.mean = std::make_shared<const std::vector<float>>(mean, 0.5f);
  return context;
}

BuiltLayer data(const std::string& batch, const std::string& transform, pcc::LayerContext context,
                int tops = 2) {
  return BuiltLayer("type: 'Data' data_param { source: 'x_lmdb' backend: LMDB " + batch +
                        " } transform_param { " + transform + " }",
                    {}, std::move(context), tops);
}

BuiltLayer dummy(const std::string& params, int tops = 1, pcc::LayerContext context = {}) {
  return BuiltLayer("type: 'DummyData' dummy_data_param { " + params + " }", {}, std::move(context),
                    tops);
}

BuiltLayer input(const std::string& params, int tops = 1) {
  return BuiltLayer("type: 'Input' input_param { " + params + " }", {}, {}, tops);
}

const Shape kRecord{3, 32, 30};
constexpr const char* kFour = "batch_size: 4";

}  // namespace

TEST(data_gives_batches_and_labels) {
  const BuiltLayer built = data(kFour, "scale: 0.5 mirror: true crop_size: 28", fed(kRecord));
  CHECK_EQ(built.shapes, (std::vector<Shape>{{4, 3, 28, 28}, {4}}));
  const auto& desc = built.only<pcc::TransformDesc>();
  CHECK_EQ(desc.scale, 0.5);
  CHECK(desc.mirror && desc.train && desc.feed == 0 && !desc.mean);
  CHECK_EQ(desc.crop, 28);
  CHECK(built.layer->spec().attributes.unread().empty());

  const BuiltLayer plain = data(kFour, "", fed(kRecord), 1);
  CHECK_EQ(plain.shapes, (std::vector<Shape>{{4, 3, 32, 30}}));
  pcc::LayerContext test = fed(kRecord);
  test.train = false;
  CHECK(!data(kFour, "", test).only<pcc::TransformDesc>().train);
}

TEST(data_makes_a_batch_for_each_replica) {
  const BuiltLayer built = data(kFour, "", fed(kRecord, 0, 3));
  CHECK_EQ(built.shapes, (std::vector<Shape>{{12, 3, 32, 30}, {12}}));
  CHECK_EQ(built.only<pcc::TransformDesc>().replicas, 3);
}

TEST(data_subtracts_means) {
  const BuiltLayer one = data(kFour, "mean_value: 7", fed(kRecord));
  CHECK_EQ(*one.only<pcc::TransformDesc>().mean, (std::vector<float>{7, 7, 7}));
  const BuiltLayer three = data(kFour, "mean_value: 1 mean_value: 2 mean_value: 3", fed(kRecord));
  CHECK_EQ(*three.only<pcc::TransformDesc>().mean, (std::vector<float>{1, 2, 3}));
  const BuiltLayer picture = data(kFour, "mean_file: 'm'", fed(kRecord, 2880));
  CHECK_EQ(picture.only<pcc::TransformDesc>().mean->size(), 2880u);

  CHECK_THROWS_WITH("mean_value is given 2 times",
                    data(kFour, "mean_value: 1 mean_value: 2", fed(kRecord)));
  CHECK_THROWS_WITH("not both", data(kFour, "mean_value: 1 mean_file: 'm'", fed(kRecord, 2880)));
  CHECK_THROWS_WITH("mean_file 'm' holds 7 numbers; the records are 3x32x30",
                    data(kFour, "mean_file: 'm'", fed(kRecord, 7)));
  CHECK_THROWS_WITH("mean_file 'm' was not read", data(kFour, "mean_file: 'm'", fed(kRecord)));
}

TEST(data_errors_say_what_is_wrong) {
  CHECK_THROWS_WITH("batch_size: 0", data("", "", fed(kRecord)));
  CHECK_THROWS_WITH("batch_size: 0", data("batch_size: 0", "", fed(kRecord)));
  CHECK_THROWS_WITH("crop_size: 31 exceeds the records, 3x32x30",
                    data(kFour, "crop_size: 31", fed(kRecord)));
  CHECK_THROWS_WITH("nothing was opened", data(kFour, "", {}));
  CHECK_THROWS_WITH("3 axes", data(kFour, "", fed({3, 32})));
  CHECK_THROWS_WITH("empty", data(kFour, "", fed({3, 0, 32})));
  CHECK_THROWS_WITH("2^31", data(kFour, "", fed({1000000000, 1000000000, 1000000000})));
  CHECK_THROWS_WITH("2^31", data("batch_size: 1000000", "", fed(kRecord)));
  CHECK_THROWS_WITH("out of range", data("batch_size: 4294967295", "", fed(kRecord)));
}

TEST(data_takes_fields_by_the_names_of_its_tops) {
  pcc::LayerContext context = pcc::with_replicas(2);
  context.feed.records = std::make_shared<pcc::FieldsFeed>(3);
  const auto fields = [&](const std::string& text) {
    return BuiltLayer("type: 'Data' data_param { batch_size: 4 } " + text, {}, context, 0);
  };
  const BuiltLayer built = fields("top: 'floats' top: 'bytes' top: 'number'");
  CHECK_EQ(built.shapes, (std::vector<Shape>{{8, 3}, {8, 2, 2}, {8}}));
  CHECK_EQ(built.lowered.feeds, 1);
  for (const auto& [op, field] : {std::pair{0u, 2}, {1u, 0}, {2u, 1}}) {
    const auto& desc = std::get<pcc::FieldDesc>(built.lowered.ops[op].desc);
    CHECK_EQ(desc.field, field);
    CHECK_EQ(desc.feed, 0);
    CHECK_EQ(desc.replicas, 2);
  }
  CHECK_EQ(fields("top: 'number'").shapes, (std::vector<Shape>{{8}}));
  CHECK_THROWS_WITH("no field for top 'label'; its records have bytes, number, floats",
                    fields("top: 'bytes' top: 'label'"));
  CHECK_THROWS_WITH("transform_param is for pictures and labels",
                    fields("top: 'bytes' transform_param { scale: 2 }"));
  CHECK_THROWS_WITH(
      "expected records of a picture and a label; got the fields bytes, number, floats",
      BuiltLayer("type: 'MemoryData' memory_data_param { batch_size: 2 channels: 1 height: 2 "
                 "width: 2 }",
                 {}, context, 2));
}

TEST(data_leaves_foreign_fields_unread) {
  const BuiltLayer built(
      "type: 'Data' data_param { source: 'x' batch_size: 2 rand_skip: 3 } image_data_param { "
      "shuffle: true }",
      {}, fed(kRecord));
  CHECK_EQ(built.layer->spec().attributes.unread(), std::vector<std::string>{"image_data_param"});
}

TEST(dummy_data_takes_shapes_in_both_forms) {
  const BuiltLayer several = dummy(
      "shape { dim: 2 dim: 3 } shape { dim: 4 } data_filler { value: 1 } data_filler { type: "
      "'uniform' }",
      2);
  CHECK_EQ(several.shapes, (std::vector<Shape>{{2, 3}, {4}}));
  CHECK_EQ(several.lowered.ops.size(), 2u);
  CHECK_EQ(std::get<pcc::FillDesc>(several.lowered.ops[1].desc).filler.type,
           pcc::FillerDesc::Type::uniform);
  const BuiltLayer spread = dummy("shape { dim: 2 } data_filler { value: 3 }", 2);
  CHECK_EQ(spread.shapes, (std::vector<Shape>{{2}, {2}}));
  CHECK_EQ(std::get<pcc::FillDesc>(spread.lowered.ops[1].desc).filler.value, 3.0);
  const BuiltLayer old = dummy("num: 2 num: 5 channels: 3 height: 4 width: 6", 2);
  CHECK_EQ(old.shapes, (std::vector<Shape>{{2, 3, 4, 6}, {5, 3, 4, 6}}));
  CHECK_EQ(std::get<pcc::FillDesc>(old.lowered.ops[0].desc).filler.type,
           pcc::FillerDesc::Type::constant);
  CHECK_EQ(dummy("shape { }").shapes.size(), 1u);  // a scalar
  const BuiltLayer doubled = dummy("shape { dim: 2 dim: 3 }", 1, pcc::with_replicas(2));
  CHECK_EQ(doubled.shapes[0], (Shape{4, 3}));

  CHECK_THROWS_WITH("shape is given 0 times", dummy(""));
  CHECK_THROWS_WITH("shape is given 2 times", dummy("shape { dim: 2 } shape { dim: 2 }", 3));
  CHECK_THROWS_WITH("not both", dummy("shape { dim: 2 } num: 1"));
  CHECK_THROWS_WITH("height is given 0 times", dummy("num: 1 channels: 1 width: 1"));
  CHECK_THROWS_WITH("data_filler is given 2 times",
                    dummy("shape { dim: 2 } data_filler { } data_filler { }", 3));
  CHECK_THROWS_WITH("at least 1", dummy("shape { dim: 0 }"));
  CHECK_THROWS_WITH("at least 1", dummy("shape { dim: -5 }"));
  CHECK_THROWS_WITH("2^31", dummy("shape { dim: 2000000000 dim: 2000000000 dim: 2000000000 }"));
  CHECK_THROWS_WITH("data_filler: type 'nope' is unknown",
                    dummy("shape { dim: 2 } data_filler { type: 'nope' }"));
}

TEST(input_values_come_from_outside) {
  const BuiltLayer built = input("shape { dim: 2 dim: 3 } shape { dim: 4 }", 2);
  CHECK_EQ(built.lowered.inputs.size(), 2u);
  CHECK(built.lowered.ops.empty());
  CHECK_EQ(built.shapes, (std::vector<Shape>{{2, 3}, {4}}));
  CHECK_THROWS_WITH("input_param", input(""));
}

TEST(memory_data_is_input_until_arrays_are_set) {
  const std::string text =
      "type: 'MemoryData' memory_data_param { batch_size: 2 channels: 3 height: 4 width: 5 }";
  const BuiltLayer empty(text, {}, {}, 2);
  CHECK_EQ(empty.lowered.inputs.size(), 2u);
  CHECK_EQ(empty.shapes, (std::vector<Shape>{{2, 3, 4, 5}, {2}}));
  const BuiltLayer set(text, {}, fed({3, 4, 5}), 2);
  CHECK_EQ(set.only<pcc::TransformDesc>().record, (pcc::Shape{3, 4, 5}));
  CHECK_EQ(set.only<pcc::TransformDesc>().scale, 1.0);
  CHECK_THROWS_WITH("expected records of 3x4x5; got 3x4x6",
                    BuiltLayer(text, {}, fed({3, 4, 6}), 2));
  CHECK_THROWS_WITH(
      "channels: 0",
      BuiltLayer("type: 'MemoryData' memory_data_param { batch_size: 2 }", {}, {}, 2));
}
