// Nets whose values the CUDA backend keeps with their channels last, in bf16 where products are.
#include <algorithm>

#include "lines_cases.h"
#include "net_text.h"

namespace pcc {
namespace {

std::string joined(const std::string& name, const std::string& a, const std::string& b) {
  return "layer { name: '" + name + "' type: 'Eltwise' bottom: '" + a + "' bottom: '" + b +
         "' top: '" + name + "' }";
}
std::string normed_conv(const std::string& name, const std::string& bottom, int maps, int kernel,
                        int stride = 1) {
  return conv_layer(name, bottom, maps, kernel, stride) + norm_layers_on(name);
}
std::string relu_on(const std::string& blob) { return layer("ReLU", blob + "_relu", blob, blob); }

// Two blocks of a ResNet.
std::string residual_net() {
  return input_layer("data", {4, 3, 10, 10}) + input_layer("label", {4}) +
         normed_conv("stem", "data", 16, 3) + relu_on("stem") + normed_conv("a1", "stem", 16, 3) +
         relu_on("a1") + normed_conv("a2", "a1", 16, 3) + joined("a", "stem", "a2") + relu_on("a") +
         normed_conv("b1", "a", 32, 3, 2) + relu_on("b1") + normed_conv("b2", "b1", 32, 3) +
         normed_conv("b0", "a", 32, 1, 2) + joined("b", "b0", "b2") + relu_on("b") +
         layer("Pooling", "pool", "b", "pool", "pooling_param { pool: AVE global_pooling: true }") +
         classifier("pool", 5);
}

struct Case {
  Precision precision;
  double tolerance;  // of gradients behind some layers of rounded numbers
};
const Case cases[] = {{Precision::tf32, 1e-1}, {Precision::bf16, 3e-1}};

NetOptions options_of(Precision precision, bool fuse) {
  NetOptions options = net_on(cuda_host_in(precision), fuse);
  options.replicas = 2;
  return options;
}

TEST(a_residual_net_stays_in_one_form) {
  NetOptions exact = double_net();
  exact.replicas = 2;
  for (const Case& c : cases)
    for (const bool fuse : {false, true}) {
      const auto got = ready(residual_net(), options_of(c.precision, fuse)),
                 expected = ready(residual_net(), exact);
      for (int i = 0; i < 2; ++i)
        compare_passes(*got, *expected, {"loss"}, c.tolerance, name_of(c.precision));
      CHECK(got->fallbacks().empty());
      if (!fuse) continue;
      // The only way back to plain float32 is that to the inner product.
      int reorders = 0;
      for (const PlanRow& row : got->plan_rows()) {
        reorders += row.op == "reorder";
        if (row.op == "conv") CHECK_EQ(row.implementation, "cuda tensor nhwc");
        if (row.op.rfind("norm", 0) != 0) continue;
        CHECK_EQ(row.implementation, "cuda nhwc");
        // It takes the moments of the convolution.
        CHECK_EQ(row.forward_work.launches, 1);
        CHECK_EQ(row.backward_work.launches, 2);
      }
      CHECK_EQ(reorders, 1);
    }
}

TEST(fused_and_unfused_agree) {
  for (const Case& c : cases) {
    const auto one = ready(residual_net(), options_of(c.precision, true)),
               many = ready(residual_net(), options_of(c.precision, false));
    compare_passes(*one, *many, {"loss"}, c.tolerance, name_of(c.precision));
  }
}

TEST(blobs_look_plain_from_outside) {
  for (const Case& c : cases) {
    const auto got = ready(residual_net(), options_of(c.precision, false)),
               expected = ready(residual_net(), options_of(Precision::tf32, false));
    pass(*got);
    pass(*expected);
    for (const char* blob : {"stem", "a", "b1", "pool"})
      CHECK(relative_difference(view(*got, blob, false), view(*expected, blob, false)) < 3e-2);
    CHECK(relative_difference(view(*got, "pool", true), view(*expected, "pool", true)) <
          c.tolerance);
    // What is written there is what the next layer reads.
    Values written = view(*got, "a", false);
    std::reverse(written.begin(), written.end());
    write_view(*got, "a", false, written);
    CHECK(view(*got, "a", false) == written);
  }
}

TEST(layers_without_such_forms_stand_between) {
  const std::string text =
      input_layer("data", {4, 16, 6, 6}) + input_layer("label", {4}) +
      conv_layer("a", "data", 16, 3) + layer("LRN", "n", "a", "n", "lrn_param { local_size: 3 }") +
      conv_layer("b", "n", 16, 3) + layer("Dropout", "d", "b", "d") + conv_layer("c", "d", 24, 1) +
      "layer { name: 'cat' type: 'Concat' bottom: 'b' bottom: 'c' top: 'cat' }" +
      "layer { name: 'cut' type: 'Slice' bottom: 'cat' top: 'u' top: 'v' slice_param { "
      "slice_point: 8 } }" +
      conv_layer("e", "u", 20, 3) + conv_layer("f", "v", 20, 3) + joined("s", "e", "f") +
      classifier("s", 5);
  for (const Case& c : cases)
    for (const bool fuse : {false, true}) {
      const auto got = ready(text, net_on(cuda_host_in(c.precision), fuse)),
                 expected = ready(text, double_net());
      compare_passes(*got, *expected, {"loss"}, c.tolerance, name_of(c.precision));
    }
}

}  // namespace
}  // namespace pcc
