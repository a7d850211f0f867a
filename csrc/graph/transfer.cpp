#include "graph/transfer.h"

#include <algorithm>
#include <cmath>

#include "core/bfloat16.h"

namespace pcc {

namespace {

template <typename T>
void write_as(Device& device, const Tensor& to, const std::vector<double>& values) {
  std::vector<T> typed(values.size());
  for (size_t i = 0; i < values.size(); ++i) typed[i] = static_cast<T>(values[i]);
  device.upload(to.data, typed.data(), to.spec.bytes());
}

template <typename T>
std::vector<double> read_as(Device& device, const Tensor& from, int64_t count) {
  std::vector<T> typed(static_cast<size_t>(count));
  device.download(typed.data(), from.data, count * size_of(from.spec.dtype));
  return {typed.begin(), typed.end()};
}

template <typename T>
double sum_as(Device& device, const Tensor& from, int64_t count, bool magnitudes) {
  constexpr int64_t kPiece = 1024;
  T piece[kPiece];
  double sum = 0;
  for (int64_t first = 0; first < count; first += kPiece) {
    const int64_t length = std::min(kPiece, count - first);
    device.download(piece, from.as<T>() + first, length * size_of(from.spec.dtype));
    for (int64_t i = 0; i < length; ++i)
      sum += magnitudes ? std::fabs(static_cast<double>(piece[i])) : static_cast<double>(piece[i]);
  }
  return sum;
}

// Calls it with a number of the tensor's type.
template <typename Call>
auto of_type(const Tensor& tensor, Call&& call) {
  switch (tensor.spec.dtype) {
    case DType::bf16:
      return call(BFloat16{});
    case DType::f64:
      return call(double{});
    default:
      return call(float{});
  }
}

}  // namespace

void fill(Device& device, const Tensor& to, double value) {
  write(device, to, std::vector<double>(static_cast<size_t>(to.count()), value));
}

void write(Device& device, const Tensor& to, const std::vector<double>& values) {
  PCC_CHECK(static_cast<int64_t>(values.size()) == to.count(), values.size(), " numbers for ",
            to.shape());
  of_type(to, [&](auto zero) { write_as<decltype(zero)>(device, to, values); });
}

std::vector<double> read(Device& device, const Tensor& from, int64_t count) {
  return of_type(from, [&](auto zero) { return read_as<decltype(zero)>(device, from, count); });
}

double sum(Device& device, const Tensor& from, int64_t count, bool magnitudes) {
  return of_type(
      from, [&](auto zero) { return sum_as<decltype(zero)>(device, from, count, magnitudes); });
}

}  // namespace pcc
