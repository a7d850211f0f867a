// cuDNN has a plan for every convolution of a list, on devices that are only described. The list is
// a file named by PYCAFFE_CLR_CONVOLUTIONS (tests/test_cudnn.py writes one from the nets that
// ship), a convolution a line:
//   N C H W  O C/group KH KW  P Q  stride pad dilation (H W each)  trains has_bias  name
// Prints a table of what was found, and what has no plan.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <map>

#include "backends/cuda/cudnn_conv.h"
#include "testing.h"

using namespace pcc;
using namespace pcc::cudnn;

namespace {

struct Listed {
  Convolution convolution;
  bool trains = true, has_bias = false;
  std::string name;
};

std::vector<Listed> read_list(const std::string& path) {
  std::ifstream file(path);
  REQUIRE(file.good());
  std::vector<Listed> all;
  int64_t n, c, h, w, o, per_group, kh, kw, p, q;
  while (file >> n >> c >> h >> w >> o >> per_group >> kh >> kw >> p >> q) {
    Listed& each = all.emplace_back();
    Convolution& made = each.convolution;
    made.x.shape = {n, c, h, w};
    made.w.shape = {o, per_group, kh, kw};
    made.y.shape = {n, o, p, q};
    for (auto* list : {&made.stride, &made.pad, &made.dilation}) {
      list->resize(2);
      file >> list->at(0) >> list->at(1);
    }
    file >> each.trains >> each.has_bias >> each.name;
  }
  REQUIRE(file.eof());
  return all;
}

struct Kind {
  Precision precision;
  DType dtype;
};
constexpr Kind kKinds[] = {
    {Precision::fp32, DType::f32}, {Precision::tf32, DType::f32}, {Precision::bf16, DType::bf16}};

void lie_as(Convolution& convolution, DType dtype, Layout layout) {
  for (TensorSpec* spec : {&convolution.x, &convolution.w, &convolution.y}) {
    spec->dtype = dtype;
    spec->layout = layout;
  }
}

// One line of the table.
struct Row {
  int cases = 0, without = 0;
  size_t fewest = SIZE_MAX, most = 0;
  int64_t workspace = 0;  // the largest among the first plans

  void add(const Plans& plans) {
    ++cases;
    if (plans.found.empty()) ++without;
    fewest = std::min(fewest, plans.found.size());
    most = std::max(most, plans.found.size());
    if (!plans.found.empty()) workspace = std::max(workspace, plans.found[0].workspace());
  }
};

class Table {
 public:
  // Plans for one line, which must exist where `required`.
  void add(const std::string& line, const Convolution& convolution, const Target& target,
           const Limits& limits, const std::string& name, bool required) {
    const Plans found = plans(convolution, target, limits);
    rows_[line].add(found);
    for (const cudnn::Plan& plan : found.found) {
      CHECK(plan.workspace() <= limits.workspace);
      CHECK(!plan.has(api::Note::nondeterministic));
      CHECK(limits.tf32 || !plan.has(api::Note::tensor_core));
      CHECK(!plan.has(api::Note::down_convert_inputs));
      CHECK(!plan.has(api::Note::reduced_precision_reduction));
    }
    if (found.found.empty() && required) {
      CHECK(!found.found.empty());
      std::printf("no plan: %s: %s: %s; %s\n", line.c_str(), name.c_str(),
                  text_of(convolution).c_str(), found.summary().c_str());
    }
  }

  void print() const {
    std::printf("%-46s %6s %8s %12s %12s\n", "device, precision, step, layout", "cases", "no plan",
                "plans", "workspace");
    for (const auto& [line, row] : rows_)
      std::printf("%-46s %6d %8d %5zu..%-5zu %8.1f MiB\n", line.c_str(), row.cases, row.without,
                  row.fewest, row.most, static_cast<double>(row.workspace) / (1 << 20));
  }

 private:
  std::map<std::string, Row> rows_;
};

// What an op chooses among, as it asks for it: every way fits the limits, and takes its arguments.
void check_ways(const Listed& listed, const Target& target, Precision precision,
                const Limits& limits) {
  const Convolution& c = listed.convolution;
  const ConvDesc desc{.kernel = {c.w.shape[2], c.w.shape[3]},
                      .stride = c.stride,
                      .pad = c.pad,
                      .dilation = c.dilation,
                      .group = c.x.shape[1] / c.w.shape[1],
                      .bias = listed.has_bias};
  OpSite site{.in = {c.x}, .out = {c.y}, .params = {{.shape = c.w.shape}}};
  if (listed.has_bias) site.params.push_back({.shape = {c.y.shape[1]}});
  constexpr int kMost = 4;
  std::string refusal;
  const auto ways = cuda::cudnn_convs(desc, site, c.step, precision, target, {}, kMost, &refusal);
  CHECK_EQ(refusal, "");
  const bool rounds = c.x.dtype == DType::bf16 && c.step == Step::weights;
  CHECK(ways.empty() == rounds && ways.size() <= kMost);
  for (const auto& way : ways) {
    const int64_t sums = c.step == Step::weights ? c.w.bytes() : 0;
    CHECK(way->scratch_bytes() <= limits.workspace + 256 + sums);
    CHECK_EQ(way->name().rfind("cudnn ", 0), size_t{0});
  }
}

}  // namespace

TEST(every_convolution_listed_has_plans) {
  const char* const path = std::getenv("PYCAFFE_CLR_CONVOLUTIONS");
  if (!path) SKIP("PYCAFFE_CLR_CONVOLUTIONS names no list");
  const std::vector<Listed> all = read_list(path);
  REQUIRE(!all.empty());
  REQUIRE(Library::installed() != nullptr);
  const auto start = std::chrono::steady_clock::now();
  Table table;
  for (const DeviceDescription& device : {a100(), h100()}) {
    const Target target(*Library::installed(), device);
    const std::string sm = concat("sm_", device.compute_capability / 10);
    for (Listed each : all) {
      for (const Layout layout : {Layout::plain, Layout::nhwc})
        for (const Kind& kind : kKinds) {
          Convolution& asked = each.convolution;
          lie_as(asked, kind.dtype, layout);
          const auto line = [&](const char* what) {
            return concat(sm, ' ', name_of(kind.precision), ' ', what, ' ', name_of(layout));
          };
          const Limits limits{.tf32 = kind.precision != Precision::fp32};
          for (const Step step : {Step::forward, Step::data, Step::weights}) {
            if (step != Step::forward && !each.trains) continue;
            asked.step = step;
            table.add(line(name_of(step)), asked, target, limits, each.name, true);
            const bool plain = layout == Layout::plain && kind.dtype == DType::f32;
            if (plain || (layout == Layout::nhwc && kind.precision != Precision::fp32))
              check_ways(each, target, kind.precision, limits);
          }
          if (each.has_bias) {
            asked.step = Step::forward;
            asked.bias = TensorSpec{.shape = {asked.y.shape[1]}, .dtype = kind.dtype};
            table.add(line("forward + bias"), asked, target, limits, each.name, true);
            asked.relu = true;
            table.add(line("forward + bias + relu"), asked, target, limits, each.name, true);
            asked.bias.reset();
            asked.relu = false;
          }
          if (each.trains && kind.dtype == DType::bf16) {
            asked.step = Step::weights;
            asked.w.dtype = DType::f32;
            table.add(line("float32 weights"), asked, target, limits, each.name, false);
          }
        }
    }
  }
  table.print();
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  std::printf("cuDNN %s: %zu convolutions, %.1f s\n", Library::installed()->version_text().c_str(),
              all.size(), time.count());
}
