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

#include "backends/cuda/cudnn/plan.h"
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

struct Numerics {
  const char* name;
  DType dtype;
  bool tf32;
};
constexpr Numerics kNumerics[] = {
    {"fp32", DType::f32, false}, {"tf32", DType::f32, true}, {"bf16", DType::bf16, true}};

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
    for (const Plan& plan : found.found) {
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
        for (const Numerics& numerics : kNumerics) {
          Convolution& asked = each.convolution;
          lie_as(asked, numerics.dtype, layout);
          const auto line = [&](const char* what) {
            return concat(sm, ' ', numerics.name, ' ', what, ' ', name_of(layout));
          };
          const Limits limits{.tf32 = numerics.tf32};
          for (const Step step : {Step::forward, Step::data, Step::weights}) {
            if (step != Step::forward && !each.trains) continue;
            asked.step = step;
            table.add(line(name_of(step)), asked, target, limits, each.name, true);
          }
          if (each.has_bias) {
            asked.step = Step::forward;
            asked.bias = TensorSpec{.shape = {asked.y.shape[1]}, .dtype = numerics.dtype};
            table.add(line("forward + bias"), asked, target, limits, each.name, true);
            asked.relu = true;
            table.add(line("forward + bias + relu"), asked, target, limits, each.name, true);
            asked.bias.reset();
            asked.relu = false;
          }
          if (each.trains && numerics.dtype == DType::bf16) {
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
