// im2col and its transpose over any number of spatial axes, for every backend that makes matrix
// products of convolutions. Source: base_conv_layer.cpp, im2col.cpp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "ops/desc.h"

namespace pcc {

// The convolution that takes an image (channels, size..) to a map (maps, map_size..), one group at
// a time. Deconvolution is the same geometry with image and map exchanged.
struct ConvGeometry {
  int64_t samples = 1, channels = 1, maps = 1, group = 1;
  std::vector<int64_t> size, map_size, kernel, stride, pad, dilation;
  int64_t area = 1, map_area = 1, taps = 1;  // products of size, map_size, kernel

  ConvGeometry(const ConvDesc& desc, const Shape& image, const Shape& map)
      : samples(image[0]),
        channels(image[1]),
        maps(map[1]),
        group(desc.group),
        kernel(desc.kernel),
        stride(desc.stride),
        pad(desc.pad),
        dilation(desc.dilation) {
    size.assign(image.dims().begin() + 2, image.dims().end());
    map_size.assign(map.dims().begin() + 2, map.dims().end());
    area = image.count(2);
    map_area = map.count(2);
    for (const int64_t taps_of_axis : kernel) taps *= taps_of_axis;
  }
  int64_t group_channels() const { return channels / group; }
  int64_t group_maps() const { return maps / group; }
  int axes() const { return static_cast<int>(kernel.size()); }
  // Channels per piece of work of the backward passes: about 32 rows of columns.
  int64_t piece_channels() const { return std::clamp<int64_t>(32 / taps, 1, group_channels()); }
  int64_t pieces_of_group() const {
    return (group_channels() + piece_channels() - 1) / piece_channels();
  }
  // Map positions per piece of the forward pass: as many as keep its columns near 256 KB.
  int64_t piece_positions() const {
    const int64_t fit = 65536 / (group_channels() * taps) / 8 * 8;
    return std::min(map_area, std::clamp<int64_t>(fit, 32, 512));
  }
};

inline constexpr int kMaxColumnAxes = 8;

// Calls run(map position, image position, length, image step) for each stretch of map positions in
// [begin, end) along the last axis whose image element under kernel tap `tap` lies inside the
// image; gap(map position, length) for those outside.
template <typename Run, typename Gap>
void for_each_stretch(const ConvGeometry& g, int64_t tap, int64_t begin, int64_t end, Run run,
                      Gap gap) {
  const int last = g.axes() - 1;
  int64_t shift[kMaxColumnAxes];  // image coordinate = map coordinate * stride + shift
  for (int axis = last, rest = static_cast<int>(tap); axis >= 0; --axis) {
    const auto a = static_cast<size_t>(axis);
    shift[axis] = rest % static_cast<int>(g.kernel[a]) * g.dilation[a] - g.pad[a];
    rest /= static_cast<int>(g.kernel[a]);
  }
  const int64_t width = g.map_size[static_cast<size_t>(last)],
                image_width = g.size[static_cast<size_t>(last)];
  const int64_t step = g.stride[static_cast<size_t>(last)];
  // Map coordinates along the last axis whose image coordinate is in [0, image_width).
  const int64_t inside = shift[last] >= 0 ? 0 : (-shift[last] + step - 1) / step;
  const int64_t outside =
      image_width <= shift[last] ? 0 : (image_width - shift[last] - 1) / step + 1;
  for (int64_t p = begin; p < end;) {
    const int64_t column = p % width, row_end = std::min(end, p - column + width);
    int64_t image_row = 0, scale = 1, rest = p / width;
    bool in = true;
    for (int axis = last - 1; axis >= 0; --axis) {
      const auto a = static_cast<size_t>(axis);
      const int64_t at = rest % g.map_size[a] * g.stride[a] + shift[axis];
      rest /= g.map_size[a];
      in = in && at >= 0 && at < g.size[a];
      image_row += at * scale;
      scale *= g.size[a];
    }
    const int64_t row = p - column;
    const int64_t from = in ? std::clamp(row + inside, p, row_end) : row_end;
    const int64_t to = in ? std::clamp(row + outside, from, row_end) : row_end;
    if (from > p) gap(p, from - p);
    if (to > from)
      run(from, image_row * image_width + (from - row) * step + shift[last], to - from, step);
    if (row_end > to) gap(to, row_end - to);
    p = row_end;
  }
}

// columns (channels * taps, end - begin): what each map position sees of the image (channels,
// area).
template <typename T>
void image_to_columns(const ConvGeometry& g, const T* image, int64_t channels, int64_t begin,
                      int64_t end, T* columns) {
  for (int64_t c = 0; c < channels; ++c, image += g.area)
    for (int64_t tap = 0; tap < g.taps; ++tap, columns += end - begin)
      for_each_stretch(
          g, tap, begin, end,
          [&](int64_t p, int64_t at, int64_t length, int64_t step) {
            T* to = columns + (p - begin);
            const T* from = image + at;
            if (step == 1)
              std::copy_n(from, length, to);
            else
              for (int64_t i = 0; i < length; ++i) to[i] = from[i * step];
          },
          [&](int64_t p, int64_t length) { std::fill_n(columns + (p - begin), length, T(0)); });
}

// The transpose: image (channels, area) = sums of the columns (channels * taps, map area).
template <typename T>
void columns_to_image(const ConvGeometry& g, const T* columns, int64_t channels, T* image) {
  std::fill_n(image, channels * g.area, T(0));
  for (int64_t c = 0; c < channels; ++c, image += g.area)
    for (int64_t tap = 0; tap < g.taps; ++tap, columns += g.map_area)
      for_each_stretch(
          g, tap, 0, g.map_area,
          [&](int64_t p, int64_t at, int64_t length, int64_t step) {
            for (int64_t i = 0; i < length; ++i) image[at + i * step] += columns[p + i];
          },
          [](int64_t, int64_t) {});
}

}  // namespace pcc
