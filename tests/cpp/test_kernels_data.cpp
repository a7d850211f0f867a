// Records turned into samples, fillers and the solver's step: the CPU backend against the plain
// loops.
#include <memory>

#include "kernel_cases.h"
#include "list_feed.h"
#include "ops/rules.h"

using namespace pcc;

namespace {

// Every element must be the reference's, bit for bit: there is nothing to round differently.
void check_transform(TransformDesc desc, const Shape& record, bool is_float) {
  const auto run = [&](const std::string& backend) {
    OpCase op;
    // Noise, as bytes or floats; the label of a record is its number.
    op.feeds = {std::make_shared<ListFeed>(record, random_values(10 * record.count(), 6, 0, 256),
                                           is_float)};
    desc.record = record;
    op.out = {{8, record[0], desc.crop ? desc.crop : record[1], desc.crop ? desc.crop : record[2]},
              {8}};
    op.desc = desc;
    op.steps = 2;
    return run_op(op, backend, DType::f32);
  };
  const OpResult expected = run("reference");
  for (const std::string& isa : cpu::loop_isas()) {
    cpu::select_loops(isa);
    const OpResult got = run("cpu");
    REQUIRE(got.made);
    CHECK(got.out == expected.out);
  }
  CHECK(run("cuda_host").out == expected.out);
}

OpCase update(UpdateDesc::Rule rule, const std::vector<UpdateSegment>& segments, int64_t count) {
  UpdateDesc desc;
  desc.rule = rule;
  desc.segments = segments;
  OpCase op;
  op.desc = desc;
  op.params.assign(static_cast<size_t>(2 + desc.histories()), {count});
  op.want_dparam.assign(op.params.size(), false);
  // Histories under a root are of squares. At 0 they would make a rounding error a whole step.
  op.param_values.resize(2);
  for (size_t k = 2; k < op.params.size(); ++k)
    op.param_values.push_back(random_values(count, 30 + k, 0.01, 1));
  op.state.iteration = 2;
  return op;
}

}  // namespace

TEST(samples_are_those_of_the_reference) {
  const Shape record{3, 11, 9};
  for (const bool is_float : {false, true})
    for (const int64_t crop : {0, 6})
      for (const bool mirror : {false, true})
        for (const size_t means :
             {size_t{0}, size_t{1}, size_t{3}, static_cast<size_t>(record.count())})
          for (const int64_t replicas : {1, 4}) {
            TransformDesc desc;
            desc.crop = crop;
            desc.mirror = mirror;
            desc.train = replicas == 1;
            desc.replicas = replicas;
            desc.scale = 0.0125;
            auto mean = std::make_shared<std::vector<float>>();
            for (const double value : random_values(static_cast<int64_t>(means), 8, 0, 200))
              mean->push_back(static_cast<float>(value));
            desc.mean = mean;
            check_transform(desc, record, is_float);
          }
}

// Numbers of the op's own stream: of this seed, net, op and pass.
TEST(fillers_follow_the_random_stream) {
  using Type = FillerDesc::Type;
  const int64_t count = 5 * 7 * 3;
  for (const Type type : {Type::constant, Type::uniform, Type::gaussian}) {
    FillDesc desc;
    desc.filler.type = type;
    desc.filler.value = 2.5;
    desc.filler.min = -2;
    desc.filler.max = 3;
    desc.filler.mean = 1;
    desc.filler.std = 4;
    OpCase op;
    op.desc = desc;
    op.out = {{5, 7, 3}};
    op.state.net = 3;
    op.state.pass = 6;
    const RandomStream stream{op.state.seed, 3, hash_name("test"), 6};
    Values expected;
    for (int64_t i = 0; i < count; ++i) {
      const auto element = static_cast<uint64_t>(i);
      expected.push_back(type == Type::constant  ? 2.5
                         : type == Type::uniform ? 5 * stream.uniform(element) - 2
                                                 : 4 * stream.normal(element) + 1);
    }
    CHECK(relative_difference(run_op(op, "reference", DType::f64).out[0], expected) < 1e-12);
    check_kernels(op, 1e-6);
  }
}

TEST(values_that_suit_weights) {
  OpCase op;
  op.out = {{5, 7, 3}};
  for (const auto type : {FillerDesc::Type::xavier, FillerDesc::Type::msra}) {
    op.desc = FillDesc{{.type = type, .variance_norm = FillerDesc::Fan::average}};
    check_kernels(op, 1e-6);
  }
  FillDesc known;
  known.filler.values = std::make_shared<const Values>(random_values(105, 5));
  op.desc = known;
  check_kernels(op, 1e-6, cuda_backend());
}

TEST(updates) {
  const int64_t count = 70001;
  const std::vector<UpdateSegment> segments = {{0, 5, 1, 1},
                                               {5, 40000, 1, 1},
                                               {40005, 3, 2, 0},
                                               {40008, 20000, 1, 1},
                                               {60010, 9991, 0.5, 1}};
  const auto check = [&](UpdateDesc::Rule rule, bool l1, double clip, int64_t iter_size) {
    OpCase op = update(rule, segments, count);
    auto& desc = std::get<UpdateDesc>(op.desc);
    desc.l1 = l1;
    desc.clip = clip;
    desc.iter_size = iter_size;
    check_kernels(op, 1e-6);
  };
  for (const UpdateRule& rule : update_rules())
    for (const bool l1 : {false, true}) check(rule.rule, l1, 0.5, 3);
  for (const double clip : {-1.0, 0.5, 1e6})
    for (const int64_t iter_size : {1, 3})
      check(UpdateDesc::Rule::nesterov, false, clip, iter_size);
}

TEST(parameters_without_a_segment_are_left_alone) {
  for (const UpdateRule& rule : update_rules()) check_kernels(update(rule.rule, {{2, 3, 1, 1}}, 7));
  check_kernels(update(UpdateDesc::Rule::sgd, {}, 7));
}
