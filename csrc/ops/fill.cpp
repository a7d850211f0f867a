// Source: Caffe's filler.hpp. Every value is a function of its index and the stream, so that the
// result is the same for any number of threads.
#include "ops/fill.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/check.h"
#include "core/parallel.h"
#include "core/random.h"

namespace pcc {
namespace {

constexpr int64_t kGrain = 4096;  // values per thread at least

void fill_constant(const FillerDesc& filler, int64_t count, double* out) {
  std::fill(out, out + count, filler.value);
}

// RandomStream::uniform for a whole range: a block of four numbers is drawn once, not four times.
void fill_uniform(const RandomStream& stream, int64_t count, double min, double max, double* out) {
  parallel(count, kGrain, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end;) {
      const std::array<uint32_t, 4> four = stream.block(static_cast<uint64_t>(i) / 4);
      do {
        out[i] = min + (max - min) * ((four[static_cast<size_t>(i % 4)] >> 8) * 0x1.0p-24);
        ++i;
      } while (i < end && i % 4 != 0);
    }
  });
}

// RandomStream::normal for a whole range: element 2k is radius * cos and 2k + 1 radius * sin of one
// pair of numbers.
void fill_normal(const RandomStream& stream, int64_t count, double mean, double deviation,
                 double* out) {
  parallel((count + 1) / 2, kGrain, [&](int64_t begin, int64_t end, int) {
    for (int64_t pair = begin; pair < end; ++pair) {
      const std::array<uint32_t, 4> four = stream.block(static_cast<uint64_t>(pair));
      const double radius =
          deviation * std::sqrt(-2.0 * std::log(((four[0] >> 8) + 1) * 0x1.0p-24));
      const double angle = 6.283185307179586476925 * ((four[1] >> 8) * 0x1.0p-24);
      out[2 * pair] = mean + radius * std::cos(angle);
      if (2 * pair + 1 < count) out[2 * pair + 1] = mean + radius * std::sin(angle);
    }
  });
}

// sparse: keeps each value with probability sparse / outputs, so that an output has sparse * inputs
// / outputs non-zero inputs on average (as Caffe computes it, with outputs = shape[0]).
void fill_gaussian(const FillerDesc& filler, const Shape& shape, const RandomStream& stream,
                   double* out) {
  const int64_t count = shape.count();
  fill_normal(stream, count, filler.mean, filler.std, out);
  if (filler.sparse < 0) return;
  const double probability = static_cast<double>(filler.sparse) / static_cast<double>(shape[0]);
  RandomStream mask = stream;
  mask.layer ^= 0x5bd1e995u;  // other numbers than the values'
  for (int64_t i = 0; i < count; ++i)
    if (mask.uniform(static_cast<uint64_t>(i)) >= probability) out[i] = 0;
}

// What xavier and msra divide by: the number of inputs of one output, of outputs of one input, or
// their average.
double fan(const FillerDesc& filler, const Shape& shape) {
  const auto count = static_cast<double>(shape.count());
  const double in = shape.axes() > 0 ? count / static_cast<double>(shape[0]) : count;
  const double out = shape.axes() > 1 ? count / static_cast<double>(shape[1]) : count;
  if (filler.variance_norm == FillerDesc::Fan::average) return (in + out) / 2;
  return filler.variance_norm == FillerDesc::Fan::out ? out : in;
}

// Positive, with a sum of 1 in each row (axis 0).
void fill_unitball(const Shape& shape, const RandomStream& stream, double* out) {
  const int64_t rows = shape.axes() > 0 ? shape[0] : 1, length = shape.count() / rows;
  fill_uniform(stream, shape.count(), 1, 0, out);  // (0, 1]: no row can be all zeros
  for (double* row = out; row != out + rows * length; row += length) {
    double sum = 0;
    for (int64_t i = 0; i < length; ++i) sum += row[i];
    for (int64_t i = 0; i < length; ++i) row[i] /= sum;
  }
}

// The kernel with which a Deconvolution of stride ceil(size / 2) interpolates linearly.
void fill_bilinear(const Shape& shape, double* out) {
  const int64_t size = shape[3];
  const auto half = static_cast<double>((size + 1) / 2);
  const double centre = static_cast<double>(size - 1) / (2 * half);
  const auto weight = [&](int64_t at) {
    return 1 - std::abs(static_cast<double>(at) / half - centre);
  };
  for (int64_t i = 0; i < shape.count(); ++i) out[i] = weight(i % size) * weight(i / size % size);
}

}  // namespace

const char* name_of(FillerDesc::Type type) {
  switch (type) {
    case FillerDesc::Type::constant:
      return "constant";
    case FillerDesc::Type::uniform:
      return "uniform";
    case FillerDesc::Type::gaussian:
      return "gaussian";
    case FillerDesc::Type::xavier:
      return "xavier";
    case FillerDesc::Type::msra:
      return "msra";
    case FillerDesc::Type::unitball:
      return "positive_unitball";
    case FillerDesc::Type::bilinear:
      return "bilinear";
  }
  return "";
}

void check_filler(const std::string& who, const FillerDesc& filler, const Shape& shape) {
  using Type = FillerDesc::Type;
  if (filler.values) {
    PCC_CONFIG(static_cast<int64_t>(filler.values->size()) == shape.count(), who, ": ",
               filler.values->size(), " numbers for shape ", shape);
    return;
  }
  PCC_CONFIG(filler.sparse >= -1, who, ": sparse: ", filler.sparse,
             " is out of range; expected 0 or more");
  PCC_CONFIG(filler.sparse == -1 || filler.type == Type::gaussian, who,
             ": sparse is for type: \"gaussian\", not for '", name_of(filler.type), "'");
  PCC_CONFIG(filler.sparse == -1 || (shape.axes() > 0 && filler.sparse <= shape[0]), who,
             ": sparse: ", filler.sparse, " exceeds the ", shape.axes() > 0 ? shape[0] : 0,
             " outputs of shape ", shape);
  if (filler.type == Type::uniform)
    PCC_CONFIG(filler.min <= filler.max, who, ": min: ", filler.min, " exceeds max: ", filler.max);
  if (filler.type == Type::gaussian)
    PCC_CONFIG(filler.std >= 0, who, ": std: ", filler.std, " is out of range; expected 0 or more");
  if (filler.type == Type::bilinear)
    PCC_CONFIG(shape.axes() == 4 && shape[2] == shape[3], who,
               ": bilinear fills square kernels of 4 axes; the shape is ", shape);
}

FillerDesc scaled_filler(const FillerDesc& filler, const Shape& shape) {
  FillerDesc scaled = filler;
  if (filler.type == FillerDesc::Type::xavier) {
    const double bound = std::sqrt(3 / fan(filler, shape));
    scaled.type = FillerDesc::Type::uniform;
    scaled.min = -bound;
    scaled.max = bound;
  } else if (filler.type == FillerDesc::Type::msra) {
    scaled.type = FillerDesc::Type::gaussian;
    scaled.mean = 0;
    scaled.std = std::sqrt(2 / fan(filler, shape));
  }
  return scaled;
}

void fill(const FillerDesc& filler, const Shape& shape, const RandomStream& stream, double* out) {
  check_filler("filler", filler, shape);
  if (filler.values) {
    std::copy(filler.values->begin(), filler.values->end(), out);
    return;
  }
  switch (filler.type) {
    case FillerDesc::Type::constant:
      return fill_constant(filler, shape.count(), out);
    case FillerDesc::Type::uniform:
      return fill_uniform(stream, shape.count(), filler.min, filler.max, out);
    case FillerDesc::Type::gaussian:
      return fill_gaussian(filler, shape, stream, out);
    case FillerDesc::Type::xavier:
    case FillerDesc::Type::msra:
      return fill(scaled_filler(filler, shape), shape, stream, out);
    case FillerDesc::Type::unitball:
      return fill_unitball(shape, stream, out);
    case FillerDesc::Type::bilinear:
      return fill_bilinear(shape, out);
  }
}

}  // namespace pcc
