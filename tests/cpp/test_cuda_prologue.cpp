// Convolutions of the CUDA backend that normalise what they read, and the BatchNorms that leave it
// to them: the same bits as where what lies between them is written.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "conv_cases.h"
#include "lines_cases.h"
#include "net_text.h"
#include "norm_cases.h"

using namespace pcc;

namespace {

DType type_of(Precision precision) {
  return precision == Precision::bf16 ? DType::bf16 : DType::f32;
}

OpResult run(OpCase op, Precision precision) {
  op.precision = precision;
  const std::string backend = cuda_host_in(precision);
  return run_lines(op, backend, forms_of_lines(op, backend, type_of(precision)));
}

double as_stored(double x, Precision precision) {
  return precision == Precision::bf16 ? static_cast<double>(BFloat16(x))
                                      : static_cast<double>(static_cast<float>(x));
}

// relu((x - mean) * scale + shift), as it would be written.
Values made_of(const Values& x, const Shape& shape, const Values& scales, int64_t groups,
               Precision precision) {
  Values y;
  const int64_t area = shape.count(2), of_group = shape.count() / groups;
  for (int64_t i = 0; i < shape.count(); ++i) {
    const auto d = static_cast<size_t>(i / of_group * shape[1] + i / area % shape[1]);
    const auto get = [](const Values& from, size_t at) { return static_cast<float>(from[at]); };
    const float value = std::fma(get(x, static_cast<size_t>(i)) - get(scales, 3 * d),
                                 get(scales, 3 * d + 1), get(scales, 3 * d + 2));
    y.push_back(as_stored(value < 0 ? 0.0 : static_cast<double>(value), precision));
  }
  return y;
}

// moments: groups in which those of the output are wanted, or 0.
void check(const Conv& c, int64_t groups, int64_t moments) {
  for (const Precision precision : {Precision::tf32, Precision::bf16}) {
    OpCase op = conv_case(c);
    auto& desc = std::get<ConvDesc>(op.desc);
    if (moments) {
      desc.moments = moments;
      op.out.push_back({moments, c.outputs, 2});
      op.dout_parts = {1, 0};
    }
    Values x = random_values(c.x.count(), 51, -2, 2);
    for (double& value : x) value = as_stored(value, precision);
    const Shape table{groups, c.x[1], 3};
    const Values scales = random_values(table.count(), 52);
    OpCase written = op;
    written.in_values = {made_of(x, c.x, scales, groups, precision)};
    const OpResult expected = run(written, precision);

    desc.prologue = groups;
    const double nan = std::numeric_limits<double>::quiet_NaN();
    op.in = {c.x, c.x, table};
    op.in_values = {Values(x.size(), nan), x, scales};
    op.want_din = {true, false, false};
    const OpResult got = run(op, precision);
    CHECK_EQ(got.implementation, "cuda tensor nhwc, normalises");
    CHECK(got.out == expected.out && got.din[0] == expected.din[0]);
    // Boxes of positions that end with a group of samples are others than those that go on.
    for (size_t i = 0; i < expected.dparams.size(); ++i)
      CHECK(relative_difference(got.dparams[i], expected.dparams[i]) <= (groups == 1 ? 0 : 1e-6));
  }
}

// Which of a net's BatchNorms are left to their readers.
std::shared_ptr<Net> net_with(const char* prologues, const std::string& text,
                              Precision precision = Precision::bf16,
                              const std::vector<std::string>& keep = {}) {
  setenv("PYCAFFE_CLR_PROLOGUE", prologues, 1);
  NetOptions options = net_on(cuda_host_in(precision), true);
  options.keep = keep;
  const auto net = ready(text, options);
  unsetenv("PYCAFFE_CLR_PROLOGUE");
  return net;
}
int64_t left_to_readers(const Net& net) {
  const std::vector<PlanRow> rows = net.plan_rows();
  return std::count_if(rows.begin(), rows.end(), [](const PlanRow& row) {
    return row.implementation.find("in its readers") != std::string::npos;
  });
}
std::string normed(const std::string& name, const std::string& bottom, int outputs = 8) {
  return conv_layer(name, bottom, outputs, 3) + norm_layers_on(name) +
         layer("ReLU", name + "_relu", name, name);
}
std::string concat_of(const std::string& name, const std::string& a, const std::string& b) {
  return "layer { name: '" + name + "' type: 'Concat' bottom: '" + a + "' bottom: '" + b +
         "' top: '" + name + "' }\n";
}
// BatchNorm, Scale and ReLU of a blob that others read, too, as `top`.
std::string norm_of(const std::string& bottom, const std::string& top) {
  return layer("BatchNorm", top, bottom, top) +
         layer("Scale", top + "_s", top, top, "scale_param { bias_term: true }") +
         layer("ReLU", top + "_r", top, top);
}
const std::string kInputs = input_layer("data", {4, 8, 5, 6}) + input_layer("label", {4});
// Two readers of one, of which one has a BatchNorm behind; and a dense block, whose second
// BatchNorm has no convolution right before it.
const std::string kTwoReaders = kInputs + normed("a", "data") + normed("b", "a", 12) +
                                conv_layer("c", "a", 4, 1) + concat_of("d", "b", "c") +
                                classifier("d", 5);
const std::string kDense = kInputs + conv_layer("x", "data", 8, 3) + norm_of("x", "n1") +
                           conv_layer("c1", "n1", 4, 3) + concat_of("x1", "x", "c1") +
                           norm_of("x1", "n2") + conv_layer("c2", "n2", 4, 3) +
                           concat_of("x2", "x1", "c2") + norm_of("x2", "n3") + classifier("n3", 5);

}  // namespace

TEST(three_by_three) {
  check({{6, 16, 9, 9}, 16, two(3), two(1), two(1), two(1), 1, false}, 2, 2);
  check({{2, 32, 8, 6}, 32, two(3), two(1), two(1), two(1)}, 1, 2);
  check({{1, 64, 4, 9}, 64, two(3), two(1), two(1), two(1), 1, false}, 1, 1);
  check({{2, 28, 7, 5}, 12, two(3), two(1), two(1), two(1), 1, false}, 1, 0);  // a half group
  check({{3, 4, 3, 3}, 72, two(3), two(1), two(2), two(1)}, 3, 0);
  check({{1, 108, 5, 6}, 12, two(3), two(1), two(1), two(1), 1, false}, 1, 0);  // several chunks
}

TEST(skipped_pixels) {
  check({{4, 16, 8, 8}, 32, two(3), two(2), two(1), two(1), 1, false}, 2, 2);
  check({{3, 40, 7, 6}, 8, two(1), two(2), two(0), two(1)}, 3, 3);
}

TEST(other_sides) {
  check({{2, 136, 4, 5}, 40, two(1), two(1), two(0), two(1)}, 2, 0);
  check({{2, 20, 8, 10}, 12, two(2), two(2), two(0), two(1)}, 1, 0);
  check({{1, 12, 6, 6}, 24, two(1), two(1), two(1), two(1)}, 1, 1);  // padding alone
}

// With statistics of x's own, with those that come with it, and with those that training left.
TEST(norms_that_leave_it_to_their_readers) {
  for (const Precision precision : {Precision::tf32, Precision::bf16})
    for (const auto& [global, moments] : {std::pair{false, false}, {false, true}, {true, false}})
      for (const bool affine : {false, true}) {
        NormActDesc desc;
        desc.relu = true;
        desc.use_global_stats = global;
        desc.moments = moments;
        desc.gain = desc.shift = affine;
        desc.groups = global ? 1 : 2;
        OpCase op = norm(desc, {4, 12, 5, 3});
        op.in_values = {random_values(op.in[0].count(), 61)};
        for (double& value : op.in_values[0]) value = as_stored(value, precision);
        if (moments) {
          op.in.push_back({2, 12, 2});
          op.in_values.push_back(random_values(48, 62, 0.1, 1));
          op.want_din = {true, false};
        }
        const OpResult expected = run(op, precision);
        std::get<NormActDesc>(op.desc).deferred = true;
        op.out.push_back({desc.groups, 12, 3});
        op.dout_parts = {1, 0};
        OpResult got = run(op, precision);
        CHECK_EQ(got.implementation, "cuda nhwc, in its readers");
        CHECK(made_of(op.in_values[0], op.in[0], got.out[1], desc.groups, precision) ==
              expected.out[0]);
        got.out = expected.out;
        CHECK(same_bits(got, expected));
      }
}

TEST(a_prologue_keeps_what_is_no_number) {
  for (const Precision precision : {Precision::tf32, Precision::bf16}) {
    OpCase op = conv_case({{1, 8, 3, 3}, 8, two(1), two(1), two(0), two(1), 1, false});
    std::get<ConvDesc>(op.desc).prologue = 1;
    Values x(72, 1.0);
    x[4] = std::numeric_limits<double>::quiet_NaN();
    op.in = {op.in[0], op.in[0], {1, 8, 3}};
    op.in_values = {x, x, Values(24, 1.0)};
    op.want_din = {true, false, false};
    op.forward_only = true;
    const OpResult got = run(op, precision);
    CHECK(std::isnan(got.out[0][4]) && std::isfinite(got.out[0][3]));
  }
}

TEST(nets_compute_the_same_either_way) {
  for (const auto& [text, left] : {std::pair{kTwoReaders, 1}, {kDense, 2}})
    for (const Precision precision : {Precision::tf32, Precision::bf16}) {
      const auto written = net_with("never", text, precision);
      const auto made = net_with("always", text, precision);
      CHECK_EQ(left_to_readers(*written), 0);
      CHECK_EQ(left_to_readers(*made), left);
      CHECK(made->memory_bytes() < written->memory_bytes());
      compare_passes(*made, *written, {"loss"}, 0);
      compare_passes(*made, *written, {"loss"}, 0);
    }
}

TEST(what_is_looked_at_or_read_otherwise_is_written) {
  const auto message = [](Net& net, const std::string& blob) -> std::string {
    try {
      view(net, blob, false);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  const auto made = net_with("always", kTwoReaders);
  CHECK(message(*made, "a")
            .find("'a' is not kept in this plan: it was swallowed by the fused op "
                  "a_bn+a_scale+a_relu. Build the net with fuse=False") != std::string::npos);
  const auto kept = net_with("always", kTwoReaders, Precision::bf16, {"a"});
  CHECK_EQ(left_to_readers(*kept), 0);
  pass(*kept);
  CHECK_EQ(message(*kept, "a"), "");
  const std::string pool = layer("Pooling", "p", "a", "p", "pooling_param { kernel_size: 2 }");
  const std::string sum = "layer { name: 's' type: 'Eltwise' bottom: 'a' bottom: 'b' top: 's' }";
  for (const std::string& other : {pool + classifier("p", 5), sum + classifier("s", 5)})
    CHECK_EQ(left_to_readers(
                 *net_with("always", kInputs + normed("a", "data") + normed("b", "a") + other)),
             0);
}

// Many maps are several blocks, each of which would normalise all that it reads.
TEST(the_model_decides) {
  const std::string images = input_layer("data", {2, 8, 16, 16}) + input_layer("label", {2});
  for (const auto& [maps, left] : {std::pair{16, 1}, {512, 0}})
    CHECK_EQ(
        left_to_readers(*net_with("model", images + normed("a", "data") +
                                               conv_layer("b", "a", maps, 1) + classifier("b", 5))),
        left);
  bool said = false;
  try {
    net_with("perhaps", kTwoReaders);
  } catch (const Error& error) {
    unsetenv("PYCAFFE_CLR_PROLOGUE");
    said = std::string(error.what()).find("is \"perhaps\"; known: model, always, never") !=
           std::string::npos;
  }
  CHECK(said);
}
