// cuDNN's plans without a device: from an op to a convolution of cuDNN's, what the limits leave,
// what is said of the rest. Skipped in part where cuDNN is not installed (PYCAFFE_CLR_CUDNN_DIR).
#include <algorithm>
#include <bit>
#include <map>
#include <thread>

#include "backends/cuda/cudnn_conv.h"
#include "backends/cuda/runtime.h"
#include "testing.h"

using namespace pcc;
using namespace pcc::cudnn;

namespace {

const Library& cudnn_library() {
  if (!Library::installed()) SKIP(Library::problem());
  return *Library::installed();
}

// A 3x3 convolution of padding 1, 16 to 32 channels.
Convolution small(Step step, DType dtype = DType::f32, Layout layout = Layout::nhwc) {
  const auto spec = [&](Shape shape) {
    return TensorSpec{.shape = std::move(shape), .dtype = dtype, .layout = layout};
  };
  return {.step = step,
          .x = spec({8, 16, 12, 12}),
          .w = spec({32, 16, 3, 3}),
          .y = spec({8, 32, 12, 12}),
          .stride = {1, 1},
          .pad = {1, 1},
          .dilation = {1, 1}};
}

constexpr Step kSteps[] = {Step::forward, Step::data, Step::weights};

bool none_has(const Plans& plans, api::Note note) {
  return std::none_of(plans.found.begin(), plans.found.end(),
                      [&](const cudnn::Plan& plan) { return plan.has(note); });
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST(op_becomes_convolution) {
  const OpSite site{.in = {{Shape{2, 4, 9, 9}}},
                    .out = {{Shape{2, 6, 5, 5}}},
                    .params = {{Shape{6, 2, 3, 3}}, {Shape{6}}}};
  const ConvDesc desc{
      .kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1}, .dilation = {1, 1}, .group = 2};
  const Convolution forward = convolution_of(desc, site, Step::forward);
  CHECK(forward.step == Step::forward);
  CHECK_EQ(forward.x.shape, site.in[0].shape);
  CHECK_EQ(forward.y.shape, site.out[0].shape);
  REQUIRE(forward.bias.has_value());
  CHECK_EQ(forward.bias->shape, Shape({6}));
  CHECK(!convolution_of(desc, site, Step::weights).bias.has_value());
  CHECK_EQ(text_of(forward),
           "forward float32 2x4x9x9 plain * float32 6x2x3x3 plain -> float32 2x6x5x5 plain, "
           "stride 2x2, pad 1x1, dilation 1x1 + bias");
}

TEST(transposed_op_swaps_its_sides) {
  const OpSite site{.in = {{Shape{2, 6, 5, 5}}},
                    .out = {{Shape{2, 4, 9, 9}}},
                    .params = {{Shape{6, 4, 3, 3}}, {Shape{4}}}};
  const ConvDesc desc{
      .kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1}, .dilation = {1, 1}, .transposed = true};
  const Step steps[] = {Step::data, Step::forward, Step::weights};
  for (int i = 0; i < 3; ++i) {
    const Convolution made = convolution_of(desc, site, kSteps[i]);
    CHECK(made.step == steps[i]);
    CHECK_EQ(made.x.shape, site.out[0].shape);
    CHECK_EQ(made.y.shape, site.in[0].shape);
    CHECK(!made.bias.has_value());
    if (Library::installed())
      CHECK(!plans(made, Target(*Library::installed(), h100())).found.empty());
  }
}

TEST(missing_library_is_an_error_of_ours) {
  CHECK_THROWS_WITH("cuDNN is not here", Library("/nowhere"));
  CHECK_THROWS_WITH("pip install nvidia-cudnn-cu13", Library("/nowhere"));
}

TEST(limits_hold) {
  const Target target(cudnn_library(), h100());
  for (const Step step : kSteps) {
    const Convolution asked = small(step);
    const Plans fp32 = plans(asked, target, {.tf32 = false});
    const Plans tf32 = plans(asked, target, {.tf32 = true});
    CHECK(!fp32.found.empty());
    CHECK(none_has(fp32, api::Note::tensor_core));
    CHECK(!none_has(tf32, api::Note::tensor_core));
    CHECK_EQ(fp32.offered, tf32.offered);
    CHECK(none_has(tf32, api::Note::nondeterministic));
    const Plans none = plans(asked, target, {.workspace = 0});
    CHECK(none.too_large > 0);
    for (const cudnn::Plan& plan : none.found) CHECK_EQ(plan.workspace(), 0);
    const Plans any = plans(asked, target, {.deterministic = false});
    CHECK(any.unwanted <= tf32.unwanted);
    CHECK_EQ(any.offered,
             static_cast<int>(any.found.size()) + any.unwanted + any.too_large + any.unfinished);
  }
  // There is one to exclude at all.
  const Plans any = plans(small(Step::weights), target, {.deterministic = false});
  CHECK(!none_has(any, api::Note::nondeterministic));
}

TEST(plans_differ_by_name_and_come_back_in_order) {
  const Target target(cudnn_library(), a100());
  std::vector<std::string> names[2];
  for (auto& list : names)
    for (const cudnn::Plan& plan : plans(small(Step::forward, DType::bf16), target).found)
      list.push_back(plan.name());
  CHECK_EQ(names[0], names[1]);
  std::sort(names[0].begin(), names[0].end());
  CHECK(std::adjacent_find(names[0].begin(), names[0].end()) == names[0].end());
}

TEST(two_threads_plan_as_one_does) {
  const Target target(cudnn_library(), h100());
  const auto summaries = [&] {
    std::string text;
    for (int i = 0; i < 20; ++i)
      for (const Step step : kSteps) {
        for (const cudnn::Plan& plan : plans(small(step), target).found) text += plan.name() + ' ';
        text += plans(small(step, DType::f32, Layout::c8), target).summary() + '\n';
      }
    return text;
  };
  const std::string alone = summaries();
  std::string other;
  std::thread thread([&] { other = summaries(); });
  const std::string own = summaries();
  thread.join();
  CHECK(own == alone);
  CHECK(other == alone);
}

TEST(fused_bias_and_relu_have_plans) {
  const Target target(cudnn_library(), h100());
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const Layout layout : {Layout::plain, Layout::nhwc})
      for (const bool relu : {false, true}) {
        Convolution asked = small(Step::forward, dtype, layout);
        asked.bias = TensorSpec{.shape = {32}, .dtype = dtype};
        asked.relu = relu;
        CHECK(!plans(asked, target).found.empty());
      }
}

TEST(one_and_three_axes_have_plans) {
  const Target target(cudnn_library(), h100());
  for (const int axes : {1, 3}) {
    Convolution asked = small(Step::forward, DType::f32, Layout::plain);
    asked.x.shape = {2, 4}, asked.w.shape = {6, 4}, asked.y.shape = {2, 6};
    for (int i = 0; i < axes; ++i) {
      asked.x.shape.push_back(10);
      asked.w.shape.push_back(3);
      asked.y.shape.push_back(10);
    }
    asked.stride = asked.pad = asked.dilation = std::vector<int64_t>(static_cast<size_t>(axes), 1);
    for (const Step step : kSteps) {
      asked.step = step;
      CHECK(!plans(asked, target).found.empty());
    }
  }
}

TEST(what_cudnn_lacks_is_said) {
  const Target target(cudnn_library(), h100());
  Convolution mixed = small(Step::weights, DType::bf16);
  mixed.w.dtype = DType::f32;
  CHECK_EQ(plans(mixed, target).summary(), "0 plans of 0 offered");
  Convolution wrong = small(Step::forward);
  wrong.w.shape = {32, 15, 3, 3};
  CHECK(contains(plans(wrong, target).summary(), "CUDNN_STATUS_BAD_PARAM ("));
  Convolution blocked = small(Step::forward, DType::f32, Layout::c8);
  CHECK(contains(plans(blocked, target).summary(), "no layout c8"));
  Convolution relu = small(Step::forward);
  relu.relu = true;
  CHECK(contains(plans(relu, target).summary(), "fuses a bias"));
  CHECK(contains(plans(small(Step::forward, DType::f64), target).summary(), "float64"));
}

TEST(a_description_that_lacks_something_is_refused) {
  const Library& library = cudnn_library();
  DeviceDescription unknown = h100();
  unknown.name = "\"";  // ends the name early: no JSON
  try {
    const Target target(library, unknown);
    CHECK(false);
  } catch (const Failure& failure) {
    CHECK(failure.kind() == ErrorKind::engine);
    CHECK(failure.status() != api::kSuccess);
    CHECK(contains(failure.what(), "the description of a device: CUDNN_STATUS_"));
  }
}

TEST(tensors_fit_their_roles) {
  const Shape image{2, 4, 9, 9}, map{2, 6, 5, 5}, weights{6, 4, 3, 3};
  float x, w, bias, dy, y, dx, dw;
  const cuda::ConvTensors tensors{&x, &w, &bias, &dy, &y, &dx, &dw, false, nullptr, nullptr};
  for (const bool transposed : {false, true}) {
    const OpSite site{.in = {{transposed ? map : image}},
                      .out = {{transposed ? image : map}},
                      .params = {{weights}}};
    const ConvDesc desc{.kernel = {3, 3},
                        .stride = {2, 2},
                        .pad = {1, 1},
                        .dilation = {1, 1},
                        .bias = false,
                        .transposed = transposed};
    const std::map<const void*, Shape> shapes = {{&x, site.in[0].shape},  {&dx, site.in[0].shape},
                                                 {&w, weights},           {&dw, weights},
                                                 {&y, site.out[0].shape}, {&dy, site.out[0].shape}};
    for (const Step step : kSteps) {
      const Convolution made = convolution_of(desc, site, step);
      const Pointers pointers = cuda::cudnn_pointers(tensors, step, transposed);
      CHECK_EQ(shapes.at(pointers.x), made.x.shape);
      CHECK_EQ(shapes.at(pointers.w), made.w.shape);
      CHECK_EQ(shapes.at(pointers.y), made.y.shape);
      const void* const written = made.step == Step::forward ? pointers.y
                                  : made.step == Step::data  ? pointers.x
                                                             : pointers.w;
      for (const void* pointer : {pointers.x, pointers.w, pointers.y})
        CHECK_EQ(pointer == &y || pointer == &dx || pointer == &dw, pointer == written);
    }
  }
}

// Weights that an op has as (maps, channels, taps), and cuDNN with channels last.
TEST(weights_go_to_cudnn_and_their_gradients_come_back) {
  cuda::Stream stream(0);
  const cuda::CurrentStream current(stream);
  const Shape shape{2, 3, 2, 2};
  const int64_t count = shape.count();
  std::vector<float> w(static_cast<size_t>(count)), back(w.size());
  for (size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(i);
  auto* const there = static_cast<float*>(stream.allocate(3 * 4 * count));
  float *const last = there + count, *const dw = there + 2 * count;
  stream.upload(there, w.data(), 4 * count);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    cuda::weights_to_last(there, {shape, dtype, Layout::nhwc}, last);
    std::vector<uint16_t> halves(2 * w.size());
    stream.download(halves.data(), last, 4 * count);
    for (size_t i = 0; i < w.size(); ++i) {
      const size_t o = i / 12, tap = i / 3 % 4, c = i % 3;
      const auto bits = std::bit_cast<uint32_t>(w[(o * 3 + c) * 4 + tap]);  // bf16 holds it, too
      CHECK_EQ(halves[dtype == DType::bf16 ? i : 2 * i + 1], static_cast<uint16_t>(bits >> 16));
    }
  }
  cuda::weights_to_last(there, {shape, DType::f32, Layout::nhwc}, last);
  stream.upload(dw, w.data(), 4 * count);
  for (const float times : {1.0f, 2.0f}) {
    cuda::gradient_from_last(last, shape, dw, times == 2);
    stream.download(back.data(), dw, 4 * count);
    for (size_t i = 0; i < w.size(); ++i) CHECK_EQ(back[i], times * w[i]);
  }
  stream.free(there);
}

// All but cudnnBackendExecute itself.
TEST(an_op_runs_a_plan_up_to_the_device) {
  const Target target(cudnn_library(), h100());
  const OpSite site{.in = {{Shape{2, 8, 9, 9}}},
                    .out = {{Shape{2, 16, 9, 9}}},
                    .params = {{Shape{16, 8, 3, 3}}, {Shape{16}}}};
  const ConvDesc desc{.kernel = {3, 3}, .stride = {1, 1}, .pad = {1, 1}, .dilation = {1, 1}};
  alignas(16) float nothing[4] = {};
  const cuda::ConvTensors tensors{nothing, nothing, nothing, nothing, nothing,
                                  nothing, nothing, false,   nothing, nothing};
  int reached = 0;
  const auto here = [&]() -> const Handle& {
    ++reached;
    static const Handle handle(cudnn_library());
    return handle;
  };
  for (const Step step : kSteps) {
    const auto ways = cuda::cudnn_convs(desc, site, step, Precision::tf32, target, here, 2);
    REQUIRE(ways.size() == 2);
    CHECK(ways[0]->name() != ways[1]->name());
    CHECK_EQ(ways[0]->prepared_bytes(), 0);
    try {
      ways[0]->run(tensors);
      SKIP("there is a device, for which other tests are");
    } catch (const Failure& failure) {
      CHECK(!failure.unsupported());
      CHECK(contains(failure.what(), "cuDNN could not use the device: CUDNN_STATUS_"));
    }
  }
  CHECK_EQ(reached, 3);
}

// Channels last: what an op in tf32 or bf16 asks for. Not what would be rounded on the way.
TEST(ops_with_channels_last_have_plans) {
  const Target target(cudnn_library(), h100());
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const bool bias : {false, true}) {
      const auto image = [&](Shape shape) {
        return TensorSpec{.shape = std::move(shape), .dtype = dtype, .layout = Layout::nhwc};
      };
      OpSite site{.in = {image({2, 8, 9, 9})},
                  .out = {image({2, 16, 9, 9})},
                  .params = {{Shape{16, 8, 3, 3}}, {Shape{16}}}};
      const ConvDesc desc{
          .kernel = {3, 3}, .stride = {1, 1}, .pad = {1, 1}, .dilation = {1, 1}, .bias = bias};
      const bool bf16 = dtype == DType::bf16;
      for (const Step step : kSteps) {
        std::string refusal;
        const auto ways = cuda::cudnn_convs(
            desc, site, step, bf16 ? Precision::bf16 : Precision::tf32, target, {}, 2, &refusal);
        CHECK_EQ(refusal, "");
        CHECK_EQ(ways.size(), size_t{bf16 && step == Step::weights ? 0u : 2u});
        const int64_t taken = bias && bf16 && step == Step::forward ? 32 : 0;
        const int64_t weights = 16 * 8 * 9 * size_of(dtype) + taken;
        for (const auto& way : ways)
          CHECK_EQ(way->prepared_bytes(), step == Step::weights ? 0 : weights);
      }
      site.in[0] = {Shape{2, 8, 9, 9}};
      CHECK(cuda::cudnn_convs(desc, site, Step::forward, Precision::bf16, target, {}, 2).empty());
    }
}

TEST(a_bias_of_a_transposed_convolution_is_left_to_others) {
  const OpSite site{.in = {{Shape{2, 6, 5, 5}}},
                    .out = {{Shape{2, 4, 9, 9}}},
                    .params = {{Shape{6, 4, 3, 3}}, {Shape{4}}}};
  ConvDesc desc{
      .kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1}, .dilation = {1, 1}, .transposed = true};
  const Target target(cudnn_library(), h100());
  const auto count = [&](Step step) {
    return cuda::cudnn_convs(desc, site, step, Precision::fp32, target, {}, 1).size();
  };
  CHECK_EQ(count(Step::forward), size_t{0});
  CHECK_EQ(count(Step::data), size_t{1});
  CHECK_EQ(count(Step::weights), size_t{1});
  desc.bias = false;
  CHECK_EQ(count(Step::forward), size_t{1});
}
