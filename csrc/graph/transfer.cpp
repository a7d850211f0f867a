#include "graph/transfer.h"

#include <algorithm>
#include <cmath>

namespace pcc {

namespace {

template <typename T>
void write_as(Device& device, const Tensor& to, const std::vector<double>& values) {
  const std::vector<T> typed(values.begin(), values.end());
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
    for (int64_t i = 0; i < length; ++i) sum += magnitudes ? std::fabs(piece[i]) : piece[i];
  }
  return sum;
}

}  // namespace

void fill(Device& device, const Tensor& to, double value) {
  write(device, to, std::vector<double>(static_cast<size_t>(to.count()), value));
}

void write(Device& device, const Tensor& to, const std::vector<double>& values) {
  PCC_CHECK(static_cast<int64_t>(values.size()) == to.count(), values.size(), " numbers for ",
            to.shape());
  if (to.spec.dtype == DType::f32)
    write_as<float>(device, to, values);
  else
    write_as<double>(device, to, values);
}

std::vector<double> read(Device& device, const Tensor& from, int64_t count) {
  return from.spec.dtype == DType::f32 ? read_as<float>(device, from, count)
                                       : read_as<double>(device, from, count);
}

double sum(Device& device, const Tensor& from, int64_t count, bool magnitudes) {
  return from.spec.dtype == DType::f32 ? sum_as<float>(device, from, count, magnitudes)
                                       : sum_as<double>(device, from, count, magnitudes);
}

}  // namespace pcc
