// What the calls of a plan ask of a device, counted without one.
#include <algorithm>

#include "lines_cases.h"
#include "net_text.h"
#include "testing.h"

namespace pcc {
namespace {

const PlanRow& row_of(const std::vector<PlanRow>& rows, const std::string& layer) {
  const auto found = std::find_if(rows.begin(), rows.end(), [&](const PlanRow& row) {
    return std::find(row.layers.begin(), row.layers.end(), layer) != row.layers.end();
  });
  REQUIRE(found != rows.end());
  return *found;
}

bool same(const Work& a, const Work& b) {
  return a.launches == b.launches && a.bytes == b.bytes && a.flops == b.flops;
}

TEST(a_plan_is_the_same_for_a_device_that_is_only_described) {
  NetOptions options = net_on("cuda_host", true);
  const std::vector<PlanRow> there = make_net(small_net(), options)->plan_rows();
  options.described = true;
  const auto net = make_net(small_net(), options);
  const std::vector<PlanRow> described = net->plan_rows();
  REQUIRE(there.size() == described.size());
  for (size_t i = 0; i < there.size(); ++i) {
    CHECK_EQ(there[i].op, described[i].op);
    CHECK_EQ(there[i].implementation, described[i].implementation);
    CHECK(same(there[i].forward_work, described[i].forward_work));
    CHECK(same(there[i].backward_work, described[i].backward_work));
    CHECK(described[i].forward_work.launches > 0);
    CHECK_EQ(described[i].backward_work.launches > 0, described[i].backward);
  }
  CHECK(net->memory_bytes() > 0);
}

TEST(the_host_is_asked_for_no_launches) {
  for (const PlanRow& row : make_net(small_net(), net_on("cpu", true))->plan_rows()) {
    CHECK_EQ(row.forward_work.launches + row.backward_work.launches, 0);
    CHECK(row.forward_work.bytes > 0);
  }
}

TEST(bytes_and_products_of_single_ops) {
  // A ReLU keeps its output's sign for backward: reads and writes 4 x 8 numbers each way.
  const std::string text =
      input_layer("data", {4, 6}) + input_layer("label", {4}) +
      layer("InnerProduct", "a", "data", "a", "inner_product_param { num_output: 8 }") +
      layer("ReLU", "r", "a", "r") + classifier("r", 5);
  const std::vector<PlanRow> rows = make_net(text, net_on("cuda_host", true))->plan_rows();
  const PlanRow &product = row_of(rows, "a"), &relu = row_of(rows, "r");
  CHECK_EQ(product.forward_work.flops, 2 * 4 * 6 * 8);
  CHECK_EQ(product.backward_work.flops, 2 * 4 * 6 * 8);  // nobody wants the data's gradient
  CHECK_EQ(row_of(rows, "ip").backward_work.flops, 2 * 2 * 4 * 8 * 5);
  CHECK(product.forward_work.bytes >= 4 * (4 * 6 + 4 * 8 + 6 * 8 + 8));
  CHECK_EQ(relu.forward_work.flops, 0);
  CHECK_EQ(relu.forward_work.bytes, 2 * 4 * 4 * 8);
  CHECK_EQ(relu.backward_work.bytes, 3 * 4 * 4 * 8);
}

TEST(weights_are_prepared_together) {
  int64_t launches = 0, convolutions = 0;
  for (const PlanRow& row :
       make_net(input_layer("data", {2, 8, 6, 6}) + input_layer("label", {2}) +
                    conv_layer("a", "data", 8, 3) + conv_layer("b", "a", 16, 3, 2) +
                    conv_layer("c", "b", 8, 1) + classifier("c", 5),
                net_on(cuda_host_in(Precision::tf32), true))
           ->plan_rows()) {
    if (row.op != "conv") continue;
    ++convolutions;
    launches += row.forward_work.launches;
    // The sums of the weights, and the gradient of the data, beside which they are joined.
    CHECK_EQ(row.backward_work.launches, 2);
  }
  CHECK_EQ(convolutions, 3);
  CHECK_EQ(launches, convolutions + 1);
}

TEST(convolutions_multiply_by_their_groups) {
  const auto flops = [](const std::string& more) {
    const std::string text =
        input_layer("data", {2, 4, 6, 6}) +
        layer("Convolution", "c", "data", "c",
              "convolution_param { num_output: 8 kernel_size: 3 " + more + "}");
    NetOptions options = net_on("cuda_host", true);
    options.train = false;
    return row_of(make_net(text, options)->plan_rows(), "c").forward_work.flops;
  };
  CHECK_EQ(flops(""), 2 * (2 * 8 * 4 * 4) * 4 * 9);
  CHECK_EQ(flops("group: 2 "), (2 * 8 * 4 * 4) * 4 * 9);
}

}  // namespace
}  // namespace pcc
