#include "op_given.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "testing.h"

namespace pcc {

void check_that(bool right, const std::string& what) {
  if (!right) ::testing::fail(__FILE__, __LINE__, what);
}

std::vector<bool> all_or(const std::vector<bool>& wanted, size_t count) {
  return wanted.empty() ? std::vector<bool>(count, true) : wanted;
}

Values pick(const std::vector<Values>& given, size_t index, int64_t count, uint64_t seed) {
  return index < given.size() && !given[index].empty() ? given[index] : random_values(count, seed);
}

OpSite site_of(const OpCase& op, DType dtype) {
  OpSite site;
  site.name = "test";
  site.stream = hash_name("test");
  for (const Shape& shape : op.in) site.in.push_back({shape, dtype, Layout::plain});
  for (const Shape& shape : op.out) site.out.push_back({shape, dtype, Layout::plain});
  for (const Shape& shape : op.params) site.params.push_back({shape, dtype, Layout::plain});
  site.want_din = all_or(op.want_din, op.in.size());
  site.want_dparam = all_or(op.want_dparam, op.params.size());
  if (op.forward_only) {
    site.want_din.assign(op.in.size(), false);
    site.want_dparam.assign(op.params.size(), false);
  }
  return site;
}

Values random_values(int64_t count, uint64_t seed, double low, double high) {
  // Each variation of a case, on each backend, asks for the same ones.
  thread_local std::map<std::tuple<int64_t, uint64_t, double, double>, Values> drawn;
  if (drawn.size() > 64) drawn.clear();
  Values& values = drawn[{count, seed, low, high}];
  const RandomStream stream{.seed = seed, .layer = 99};
  for (int64_t i = static_cast<int64_t>(values.size()); i < count; ++i)
    values.push_back(
        static_cast<float>(low + (high - low) * stream.uniform(static_cast<uint64_t>(i))));
  return values;
}

Values distinct_values(int64_t count, uint64_t seed, double gap) {
  Values values(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i)
    values[static_cast<size_t>(i)] =
        static_cast<float>((static_cast<double>(i - count / 2) + 0.5) * gap);
  const RandomStream stream{.seed = seed, .layer = 98};
  for (int64_t i = count - 1; i > 0; --i)
    std::swap(values[static_cast<size_t>(i)],
              values[stream.bits(static_cast<uint64_t>(i)) % static_cast<uint64_t>(i + 1)]);
  return values;
}

Values nonzero_values(int64_t count, uint64_t seed, double margin) {
  Values values = random_values(count, seed);
  for (double& value : values)
    value = static_cast<float>(value < 0 ? value - margin : value + margin);
  return values;
}

Values label_values(int64_t count, int64_t classes, uint64_t seed) {
  const RandomStream stream{.seed = seed, .layer = 97};
  Values values(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i)
    values[static_cast<size_t>(i)] =
        static_cast<double>(stream.bits(static_cast<uint64_t>(i)) % static_cast<uint32_t>(classes));
  return values;
}

}  // namespace pcc
