// What is asked of an op beyond one run: that it agrees with the reference backend, whatever is
// asked of it, and that its gradients are those of its outputs.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "backends/cuda/host/modes.h"
#include "op_given.h"

namespace pcc {

double relative_difference(const Values& got, const Values& expected) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (got.size() != expected.size()) return kInfinity;
  double largest = 0, difference = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(got[i]) != std::isnan(expected[i])) return kInfinity;
    if (std::isnan(got[i]) || got[i] == expected[i]) continue;
    difference = std::max(difference, std::abs(got[i] - expected[i]));
  }
  for (const double value : expected)
    if (std::isfinite(value)) largest = std::max(largest, std::abs(value));
  // Below this everything is rounding: a gradient that is zero in theory has no scale of its own.
  return difference / std::max(largest, 1e-3);
}

bool same_bits(const OpResult& a, const OpResult& b) {
  const auto same = [](const Values& x, const Values& y) {
    return x.size() == y.size() &&
           (x.empty() || std::memcmp(x.data(), y.data(), x.size() * sizeof(double)) == 0);
  };
  const auto all = [&](const std::vector<Values>& x, const std::vector<Values>& y) {
    return std::equal(x.begin(), x.end(), y.begin(), y.end(), same);
  };
  return all(a.out, b.out) && all(a.params, b.params) && all(a.din, b.din) &&
         all(a.dparams, b.dparams);
}

namespace {

void compare_all(const char* what, const std::vector<Values>& got,
                 const std::vector<Values>& expected, double tolerance, const std::string& where) {
  for (size_t i = 0; i < expected.size(); ++i) {
    const double difference = relative_difference(got[i], expected[i]);
    check_that(difference <= tolerance,
               concat(where, ": ", what, " ", i, " differs from the reference by ", difference));
  }
}

// The simulated device must give the same bits in whatever order threads and blocks run, and
// whenever a stream does its work: what differs is a race.
// With everything wanted both other orders are tried, and one of them, in turn, with each
// variation.
void check_order_is_free(const OpCase& op, size_t variation, const FormChoice& choice,
                         const OpResult& expected) {
  using namespace cuda::host;
  const Modes before = modes();
  std::vector<Modes> others = {Modes{Order::reversed, Streams::late}, Modes{Order::shuffled}};
  if (variation > 0) others = {others[variation % 2]};
  for (const Modes& other : others) {
    set_modes(other);
    const OpResult got = run_op(op, "cuda_host", DType::f32, choice);
    check_that(same_bits(got, expected),
               concat(name_of(op.desc), " on cuda_host: the order of threads makes a difference"));
  }
  set_modes(before);
}

std::string form_text(const FormChoice& choice) {
  std::string text;
  for (const Form& form : choice.in) text += concat(name_of(form.layout), " ");
  text += "->";
  for (const Form& form : choice.out) text += concat(" ", name_of(form.layout));
  return text;
}

// The variations of what is asked of an op: parts, wanted gradients, in place, forward only.
std::vector<OpCase> variations(const OpCase& op) {
  std::vector<OpCase> list = {op};
  const auto vary = [&](const std::function<void(OpCase&)>& change) {
    list.push_back(op);
    change(list.back());
  };
  vary([](OpCase& c) { c.forward_only = true; });
  vary([](OpCase& c) {
    c.forward_only = true;
    c.in_place = true;
  });
  if (!site_of(op, DType::f32).backward()) return list;
  vary([](OpCase& c) { c.dout_parts.assign(1, 2); });
  vary([](OpCase& c) { c.dout_parts.assign(c.out.size(), 0); });
  vary([](OpCase& c) { c.in_place = true; });
  vary([](OpCase& c) { c.steps = 2; });
  vary([](OpCase& c) { c.first = true; });
  const std::vector<bool> din = all_or(op.want_din, op.in.size());
  const std::vector<bool> dparam = all_or(op.want_dparam, op.params.size());
  for (size_t i = 0; i < din.size(); ++i)
    if (din[i])
      vary([&](OpCase& c) { c.want_din = din, c.want_din[i] = false, c.want_dparam = dparam; });
  for (size_t i = 0; i < dparam.size(); ++i)
    if (dparam[i]) vary([&](OpCase& c) { c.want_dparam = dparam, c.want_dparam[i] = false; });
  return list;
}

}  // namespace

std::vector<std::string> compare_with_reference(const OpCase& op, const std::string& backend_name,
                                                double tolerance) {
  std::vector<std::string> implementations;
  const std::vector<OpCase> variants = variations(op);
  const std::shared_ptr<Device> device = backend(backend_name).open(0, op.precision);
  for (size_t v = 0; v < variants.size(); ++v) {
    const OpCase& variant = variants[v];
    const OpResult expected = run_op(variant, "reference", DType::f64);
    check_that(expected.made, concat(name_of(op.desc), ": not in the reference backend"));
    if (!expected.made) return {};
    std::vector<FormChoice> tried;
    for (const Layout start : {Layout::plain, Layout::nhwc, Layout::c8, Layout::c16}) {
      OpSite site = site_of(variant, DType::f32);
      for (TensorSpec& spec : site.in)
        if (fits_layout(spec.shape, start)) spec.layout = start;
      site.device = device.get();
      const FormChoice choice = backend(backend_name).forms(op.desc, site);
      const bool seen = std::any_of(tried.begin(), tried.end(), [&](const FormChoice& other) {
        return other.in == choice.in && other.out == choice.out;
      });
      if (seen) continue;
      tried.push_back(choice);
      const OpResult got = run_op(variant, backend_name, DType::f32, choice);
      check_that(got.made, concat(name_of(op.desc), " on ", backend_name, ": refused in the forms ",
                                  "that it asked for, ", form_text(choice)));
      if (!got.made) continue;
      if (std::find(implementations.begin(), implementations.end(), got.implementation) ==
          implementations.end())
        implementations.push_back(got.implementation);
      const std::string where =
          concat(name_of(op.desc), " on ", backend_name, " (", got.implementation, "), ",
                 form_text(choice), variant.forward_only ? ", forward only" : "",
                 variant.in_place ? ", in place" : "", variant.dout_parts.empty() ? "" : ", parts",
                 variant.steps > 1 ? ", second step" : "", variant.first ? ", first" : "");
      compare_all("output", got.out, expected.out, tolerance, where);
      compare_all("parameter", got.params, expected.params, tolerance, where);
      compare_all("input gradient", got.din, expected.din, tolerance, where);
      compare_all("parameter gradient", got.dparams, expected.dparams, tolerance, where);
      if (backend_name == "cuda_host") check_order_is_free(variant, v, choice, got);
    }
  }
  return implementations;
}

void check_gradient(const OpCase& given, const GradientCheck& check) {
  // Fix every value, so that one of them can be moved.
  OpCase op = given;
  op.in_values.resize(op.in.size());
  op.param_values.resize(op.params.size());
  op.dout_values.resize(op.out.size());
  for (size_t i = 0; i < op.in.size(); ++i)
    op.in_values[i] = pick(given.in_values, i, op.in[i].count(), op.seed + 100 + i);
  for (size_t i = 0; i < op.params.size(); ++i)
    op.param_values[i] = pick(given.param_values, i, op.params[i].count(), op.seed + 200 + i);
  for (size_t i = 0; i < op.out.size(); ++i)
    op.dout_values[i] = pick(given.dout_values, i, op.out[i].count(), op.seed + 400 + i);

  const OpResult analytic = run_op(op, "reference", DType::f64);
  check_that(analytic.made, concat(name_of(op.desc), ": not in the reference backend"));
  if (!analytic.made) return;

  OpCase forward = op;
  forward.forward_only = true;
  const auto objective = [&] {
    const OpResult result = run_op(forward, "reference", DType::f64);
    double sum = 0;
    for (size_t i = 0; i < result.out.size(); ++i) {
      if (i < op.dout_parts.size() && op.dout_parts[i] == 0) continue;
      for (size_t k = 0; k < result.out[i].size(); ++k)
        sum += result.out[i][k] * op.dout_values[i][k];
    }
    return sum;
  };
  const auto check_all = [&](const char* what, size_t index, Values& values,
                             const Values& gradient) {
    int failures = 0;
    for (size_t k = 0; k < gradient.size(); ++k) {
      const double value = values[k];
      if (std::abs(value - check.kink) <= check.kink_range) continue;
      values[k] = value + check.step;
      const double above = objective();
      values[k] = value - check.step;
      const double below = objective();
      values[k] = value;
      const double numeric = (above - below) / (2 * check.step);
      const double scale = std::max({std::abs(numeric), std::abs(gradient[k]), check.floor});
      const bool right = std::abs(numeric - gradient[k]) <= check.tolerance * scale;
      if (!right && ++failures > 3) continue;  // a few say enough
      check_that(right, concat(name_of(op.desc), ": gradient of ", what, " ", index, " at ", k,
                               " is ", gradient[k], ", finite differences give ", numeric));
    }
  };
  for (size_t i = 0; i < op.in.size(); ++i)
    check_all("input", i, forward.in_values[i], analytic.din[i]);
  for (size_t i = 0; i < op.params.size(); ++i)
    check_all("parameter", i, forward.param_values[i], analytic.dparams[i]);
}

}  // namespace pcc
