// What a net tells of itself: ops that its backend refused, fields that no layer reads.
#include "net_text.h"
#include "testing.h"

namespace pcc {
namespace {

// A sum of more values than the CPU backend's kernel takes.
std::string net_with_sum(int inputs) {
  std::string bottoms;
  for (int i = 0; i < inputs; ++i) bottoms += " bottom: 'a'";
  return input_layer("data", {4, 3, 6, 5}) + input_layer("label", {4}) +
         layer("InnerProduct", "a", "data", "a",
               "inner_product_param { num_output: 8 weight_filler { type: 'xavier' } }") +
         "layer { name: 'sum' type: 'Eltwise'" + bottoms + " top: 'sum' }\n" + classifier("sum", 5);
}

// Backends that leave something to the host on purpose.
bool refuses(const std::string& backend) { return backend.rfind("fussy_", 0) == 0; }

TEST(an_op_that_the_backend_refuses_is_told_and_runs) {
  const std::string text = net_with_sum(70);
  const auto expected = ready(text, reference_net());
  CHECK(expected->fallbacks().empty());
  pass(*expected);
  for (const std::string& backend : backend_names())
    for (const bool fuse : {false, true}) {
      if (backend.find("reference") != std::string::npos) continue;  // guarded memory, too
      if (refuses(backend)) continue;
      const auto net = ready(text, net_on(backend, fuse));
      // The gradients of so many readers are a sum of as many parts: of the backend's (CUDA's takes
      // any number), or on the host, where those readers are then (unless each reads a copy of its
      // own, in a kept net).
      std::vector<std::string> told{"sum (sum)"};
      if (net->device()->host_visible() || (!fuse && backend != "cuda_host"))
        told.push_back("diff of a (sum of diffs)");
      CHECK_EQ(net->fallbacks(), told);
      for (const PlanRow& row : net->plan_rows())
        if (row.op.rfind("copy to", 0) != 0)
          CHECK_EQ(row.backend, row.layers[0] == "sum" ? "reference" : backend);
      pass(*net);
      CHECK_CLOSE(blob_of(*net, "loss")[0], blob_of(*expected, "loss")[0], 1e-5);
      for (const char* name : {"a", "ip"})
        CHECK(relative_difference(param_diff(*net, name, 0), param_diff(*expected, name, 0)) <
              1e-4);
    }
}

TEST(a_backend_that_answers_all_tells_of_none) {
  for (const std::string& backend : backend_names())
    CHECK(make_net(net_with_sum(8), net_on(backend))->fallbacks().empty() != refuses(backend));
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
