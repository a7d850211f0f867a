// What a net tells of itself: ops that its backend refused, fields that no layer reads.
#include "net_text.h"
#include "testing.h"

namespace pcc {
namespace {

// A sum of more values than the CPU backend's kernel takes.
std::string wide_sum(int inputs) {
  std::string bottoms;
  for (int i = 0; i < inputs; ++i) bottoms += " bottom: 'conv'";
  return "layer { name: 'sum' type: 'Eltwise'" + bottoms + " top: 'sum' }\n";
}

std::string net_with(const std::string& layers, const std::string& last) {
  return input_layer("data", {4, 3, 6, 5}) + input_layer("label", {4}) +
         conv_layer("conv", "data", 8, 3) + layers + classifier(last, 5);
}

TEST(an_op_that_the_backend_refuses_is_told_and_runs) {
  const std::string text = net_with(wide_sum(70), "sum");
  const auto expected = ready(text, reference_net());
  CHECK(expected->fallbacks().empty());
  pass(*expected);
  for (const std::string& backend : backend_names())
    for (const bool fuse : {false, true}) {
      if (backend.find("reference") != std::string::npos) continue;  // guarded memory, too
      const auto net = ready(text, net_on(backend, fuse));
      CHECK_EQ(net->fallbacks(), (std::vector<std::string>{"sum (sum)"}));
      for (const PlanRow& row : net->plan_rows())
        if (row.op != "reorder")
          CHECK_EQ(row.backend, row.layers[0] == "sum" ? "reference" : backend);
      pass(*net);
      CHECK_CLOSE(blob_of(*net, "loss")[0], blob_of(*expected, "loss")[0], 1e-5);
      for (const char* name : {"conv", "ip"})
        CHECK(relative_difference(param_diff(*net, name, 0), param_diff(*expected, name, 0)) <
              1e-4);
    }
}

TEST(a_backend_that_answers_all_tells_of_none) {
  for (const std::string& backend : backend_names())
    for (const bool fuse : {false, true}) {
      CHECK(make_net(net_with(wide_sum(8), "sum"), net_on(backend, fuse))->fallbacks().empty());
      CHECK(make_net(small_net(), net_on(backend, fuse))->fallbacks().empty());
    }
}

TEST(fields_that_a_layer_does_not_use_are_told) {
  const auto warnings = [](const std::string& more) {
    return make_net(input_layer("data", {2, 3}) + layer("ReLU", "r", "data", "r", more))
        ->warnings();
  };
  CHECK(warnings("relu_param { negative_slope: 0.1 engine: CAFFE }").empty());
  const std::vector<std::string> told =
      warnings("relu_param { negative_slope: 0.1 } dropout_param { dropout_ratio: 0.3 }");
  REQUIRE(told.size() == 1);
  CHECK(told[0].find("layer 'r' (ReLU): field dropout_param") == 0);
}

}  // namespace
}  // namespace pcc
