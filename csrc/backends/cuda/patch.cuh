// How convolutions on the tensor cores cut their images: a block of threads makes a box of the
// output's positions, and holds in shared memory the patch of the input that they see.
#pragma once

#include "backends/cuda/channel_scale.cuh"
#include "backends/cuda/copies.cuh"
#include "backends/cuda/divisor.cuh"
#include "backends/cuda/mma.cuh"
#include "backends/cuda/pack.cuh"
#include "backends/cuda/tensor_conv.h"

namespace pcc::cuda {

using Direction = TensorConv::Direction;

constexpr int kPositionBits = 7;
constexpr int kPositions = 1 << kPositionBits;  // of a box; eight neighbours of a row stay together

// (N, C, H, W), wherever its numbers lie.
struct Image {
  char* data;
  bool floats;   // or bf16
  bool vectors;  // 16 bytes of a pixel's channels are neighbours, and in the type that the products
                 // take
  bool halves;   // of which then only 8 are aligned, or there
  int channels;
  int sample, channel, row, column;  // from one to the next, in numbers

  Image(const Tensor& tensor, DType products)
      : data(static_cast<char*>(tensor.data)),
        floats(tensor.spec.dtype == DType::f32),
        channels(static_cast<int>(tensor.shape()[1])) {
    const TensorSpec& spec = tensor.spec;
    const int rows = static_cast<int>(spec.shape[2]), columns = static_cast<int>(spec.shape[3]);
    const bool last = spec.layout == Layout::nhwc;
    const auto aligned = [&](int64_t numbers) { return numbers * size_of(spec.dtype) % 16 == 0; };
    const bool begins = reinterpret_cast<uintptr_t>(data) % 16 == 0;
    vectors = last && spec.dtype == products && spec.shape[1] % 4 == 0;
    halves = !begins || !aligned(spec.shape[1]) || !aligned(tensor.pitch);
    channel = last ? 1 : rows * columns;
    column = !last ? 1 : tensor.pitch ? static_cast<int>(tensor.pitch) : channels;
    row = columns * column;
    sample = last ? rows * row : channels * rows * columns;
  }
  __device__ int at(int s, int h, int w, int c) const {
    return s * sample + h * row + w * column + c * channel;
  }
  template <typename T>
  __device__ T* as() const {
    return reinterpret_cast<T*>(data);
  }
  __device__ float get(int i) const { return floats ? as<float>()[i] : number(as<BFloat16>()[i]); }
  __device__ void put(int i, float x) const {
    if (floats)
      as<float>()[i] = x;
    else
      as<BFloat16>()[i] = stored<BFloat16>(x);
  }
};

// Which positions a box has, and where in the patch they begin to see. All boxes are alike; what
// hangs over the edge of the output, or over the last sample of a group, is left out.
struct Boxes {
  Direction d;
  int column_bits, row_bits;  // 2^bits columns and rows, and samples for the rest of kPositions
  int across, down, deep;     // boxes of a group
  int samples;                // of a group
  int reach, step;            // from one element of a patch to the next in the image; from what
                              // one position sees to the next one's, in the patch
  int patch_rows, patch_columns;
  Divisor by_group, by_across, by_down, by_area, by_columns;

  Boxes(const Direction& direction, int side) : d(direction) {
    int best = 0;
    for (const int bits : {5, 4, 3}) {
      const int padded = (d.out_columns + (1 << bits) - 1) >> bits << bits;
      if (best != 0 && padded >= best) continue;
      best = padded;
      column_bits = bits;
    }
    row_bits = 0;
    while (row_bits + column_bits < kPositionBits && 1 << row_bits < d.out_rows) ++row_bits;
    const auto boxes = [](int size, int bits) { return (size + (1 << bits) - 1) >> bits; };
    samples = d.samples / d.groups;
    across = boxes(d.out_columns, column_bits);
    down = boxes(d.out_rows, row_bits);
    deep = boxes(samples, sample_bits());
    reach = side == 1 ? d.stride : 1;
    step = side == 1 ? 1 : d.stride;
    patch_rows = ((1 << row_bits) - 1) * step + side;
    patch_columns = ((1 << column_bits) - 1) * step + side;
    by_group = Divisor(of_group());
    by_across = Divisor(across);
    by_down = Divisor(down);
    by_area = Divisor(patch_rows * patch_columns);
    by_columns = Divisor(patch_columns);
  }
  __host__ __device__ int sample_bits() const { return kPositionBits - column_bits - row_bits; }
  __host__ __device__ int of_group() const { return across * down * deep; }
  __host__ __device__ int patch_elements() const {
    return (patch_rows * patch_columns) << sample_bits();
  }
};

// Makes relu(scale(x)) of what is loaded. Null scales: there is none.
struct Prologue {
  const ChannelScale* scales;
  int groups;  // that have their own
};

// One position of the output.
struct Place {
  int sample, row, column;
};

class Box {
 public:
  __device__ Box(const Boxes& boxes, uint32_t group, uint32_t number) {
    const Quotient line = boxes.by_across(number), deep = boxes.by_down(line.whole);
    const int begin = static_cast<int>(group) * boxes.samples;
    first_ = {begin + (static_cast<int>(deep.whole) << boxes.sample_bits()),
              static_cast<int>(deep.rest) << boxes.row_bits,
              static_cast<int>(line.rest) << boxes.column_bits};
    end_ = begin + boxes.samples;
  }
  // The i-th of a box's positions, counted from its first.
  __device__ static Place position(const Boxes& boxes, int i) {
    const int row = i >> boxes.column_bits;
    return {row >> boxes.row_bits, row & ((1 << boxes.row_bits) - 1),
            i & ((1 << boxes.column_bits) - 1)};
  }
  // Which element of the patch that position's first tap is.
  __device__ static int in_patch(const Boxes& boxes, int i) {
    const Place at = position(boxes, i);
    return (at.sample * boxes.patch_rows + at.row * boxes.step) * boxes.patch_columns +
           at.column * boxes.step;
  }
  // Of the output; false: it hangs over.
  __device__ bool place(const Boxes& boxes, int i, Place& at) const {
    at = position(boxes, i);
    at = {first_.sample + at.sample, first_.row + at.row, first_.column + at.column};
    return at.sample < end_ && at.row < boxes.d.out_rows && at.column < boxes.d.out_columns;
  }

  // Nothing of it hangs over.
  __device__ bool is_whole(const Boxes& boxes) const {
    return first_.sample + (1 << boxes.sample_bits()) <= end_ &&
           first_.row + (1 << boxes.row_bits) <= boxes.d.out_rows &&
           first_.column + (1 << boxes.column_bits) <= boxes.d.out_columns;
  }

  // Fills the patch: 2^group_bits groups of 16 bytes of channels for each element, from
  // `first_channel` on; zeros outside of the image and behind the last channel. line: words from
  // one element to the next.
  template <typename Number>
  __device__ void load(const Boxes& boxes, const Image& x, int first_channel, int group_bits,
                       int line, uint32_t* patch, Copies& copies) const {
    if (x.vectors)
      load_vectors<Number>(boxes, x, first_channel, group_bits, line, patch, copies);
    else
      load_numbers<Number>(boxes, x, first_channel, group_bits, line, patch);
  }

  // Has the prologue make what it should of what load() brought for this thread, as vectors; the
  // zeros around the image, and behind the last channel, stay. group: that of the box.
  template <typename Number>
  __device__ void normalise(const Boxes& boxes, const Image& x, const Prologue& prologue,
                            uint32_t group, int first_channel, int group_bits, int line,
                            uint32_t* patch) const {
    constexpr int kPer = Number::kPerWord, kCount = 4 * kPer;
    const Share share(group_bits);
    const int channel = first_channel + share.group * kCount;
    const uint32_t row = prologue.groups == 1 ? 0 : group;
    const ChannelScale* const scales = prologue.scales + (row * static_cast<uint32_t>(x.channels) +
                                                          static_cast<uint32_t>(channel));
    ChannelScale its[kCount];
    PCC_UNROLL
    for (int k = 0; k < kCount; k += 4) {
      float4 of_four[3] = {};
      if (channel + k < x.channels) {
        const auto* const from = reinterpret_cast<const float4*>(scales + k);
        PCC_UNROLL
        for (int i = 0; i < 3; ++i) of_four[i] = from[i];
      }
      its[k] = {of_four[0].x, of_four[0].y, of_four[0].z};
      its[k + 1] = {of_four[0].w, of_four[1].x, of_four[1].y};
      its[k + 2] = {of_four[1].z, of_four[1].w, of_four[2].x};
      its[k + 3] = {of_four[2].y, of_four[2].z, of_four[2].w};
    }
    each(boxes, x, share, line, patch, [&](uint32_t* at, int, bool inside) {
      if (!inside) return;
      auto& words = *reinterpret_cast<uint4*>(at);
      uint32_t word[4] = {words.x, words.y, words.z, words.w};
      PCC_UNROLL
      for (int i = 0; i < 4; ++i) {
        float numbers[kPer];
        Number::unpack(word[i], numbers);
        PCC_UNROLL
        for (int k = 0; k < kPer; ++k) numbers[k] = its[i * kPer + k](numbers[k]);
        word[i] = Number::rectified(numbers);
      }
      words = {word[0], word[1], word[2], word[3]};
    });
  }

 private:
  // Of a patch, for one thread: a group of channels of every step-th element. Neighbouring threads
  // take neighbours in memory: channels.
  struct Share {
    int group, first, step;
    __device__ explicit Share(int group_bits)
        : group(static_cast<int>(threadIdx.x) & ((1 << group_bits) - 1)),
          first(static_cast<int>(threadIdx.x) >> group_bits),
          step(static_cast<int>(blockDim.x) >> group_bits) {}
  };
  // body(where it lies in the patch, where the image has it but for its channel, whether it has).
  template <typename Body>
  __device__ void each(const Boxes& boxes, const Image& x, const Share& share, int line,
                       uint32_t* patch, const Body& body) const {
    uint32_t* to = patch + share.first * line + share.group * 4;
    Seen at(boxes, share.first);
    const Seen steps(boxes, share.step);
    PCC_UNROLL_BY(1)
    for (int element = share.first; element < boxes.patch_elements(); element += share.step) {
      int from;
      const bool inside = look(boxes, x, at, from);
      body(to, from, inside);
      to += share.step * line;
      at.add(boxes, steps);
    }
  }
  template <typename Number>
  __device__ void load_vectors(const Boxes& boxes, const Image& x, int first_channel,
                               int group_bits, int line, uint32_t* patch, Copies& copies) const {
    const Share share(group_bits);
    const int channel = first_channel + share.group * 4 * Number::kPerWord;
    constexpr int kHalf = 2 * Number::kPerWord;
    const bool there = channel < x.channels, more = channel + kHalf < x.channels;
    const auto* const numbers = x.as<typename Number::Stored>() + channel;
    each(boxes, x, share, line, patch, [&](uint32_t* to, int from, bool inside) {
      if (x.halves) {
        copies.template add<8>(to, numbers + from, inside && there);
        copies.template add<8>(to + 2, numbers + from + kHalf, inside && more);
      } else {
        copies.template add<16>(to, numbers + from, inside && there);
      }
    });
  }
  // The same: pixels.
  template <typename Number>
  __device__ void load_numbers(const Boxes& boxes, const Image& x, int first_channel,
                               int group_bits, int line, uint32_t* patch) const {
    const int count = boxes.patch_elements(), elements = count << group_bits;
    for (int e = static_cast<int>(threadIdx.x); e < elements; e += static_cast<int>(blockDim.x)) {
      const int element = e % count, group = e / count;
      int from;
      const bool inside = look(boxes, x, Seen(boxes, element), from);
      for (int word = 0; word < 4; ++word) {
        float numbers[Number::kPerWord];
        PCC_UNROLL
        for (int i = 0; i < Number::kPerWord; ++i) {
          const int c = first_channel + (group * 4 + word) * Number::kPerWord + i;
          numbers[i] = inside && c < x.channels ? x.get(from + c * x.channel) : 0.0f;
        }
        patch[element * line + group * 4 + word] = Number::pack(numbers);
      }
    }
  }

  // An element of a patch, or a step from one to another.
  struct Seen {
    int sample, row, column;

    __device__ Seen(const Boxes& boxes, int element) {
      const Quotient of = boxes.by_area(static_cast<uint32_t>(element));
      const Quotient in = boxes.by_columns(of.rest);
      sample = static_cast<int>(of.whole);
      row = static_cast<int>(in.whole);
      column = static_cast<int>(in.rest);
    }
    __device__ void add(const Boxes& boxes, const Seen& step) {
      column += step.column;
      row += step.row;
      sample += step.sample;
      if (column >= boxes.patch_columns) column -= boxes.patch_columns, ++row;
      if (row >= boxes.patch_rows) row -= boxes.patch_rows, ++sample;
    }
  };
  // Where the image has it, but for its channel; false: nowhere, and it is zeros.
  __device__ bool look(const Boxes& boxes, const Image& x, const Seen& at, int& from) const {
    const Direction& d = boxes.d;
    const int h = first_.row * d.stride - d.pad + at.row * boxes.reach;
    const int w = first_.column * d.stride - d.pad + at.column * boxes.reach;
    const int row = h >> d.spread_bits, column = w >> d.spread_bits;
    const int sample = first_.sample + at.sample;
    from = x.at(sample, row, column, 0);
    // What is negative is large.
    return sample < end_ && static_cast<unsigned>(row) < static_cast<unsigned>(d.rows) &&
           static_cast<unsigned>(column) < static_cast<unsigned>(d.columns) &&
           ((h | w) & ((1 << d.spread_bits) - 1)) == 0;
  }

  Place first_;
  int end_;  // of the group's samples
};

// body(std::integral_constant<int, side>()).
template <typename Body>
auto with_side(int side, const Body& body) {
  if (side == 1) return body(std::integral_constant<int, 1>());
  if (side == 2) return body(std::integral_constant<int, 2>());
  return body(std::integral_constant<int, 3>());
}

// How many elements a tap lies behind a position's first one.
template <int kSide>
__device__ __forceinline__ int tap_shift(const Boxes& boxes, int tap) {
  return tap / kSide * boxes.patch_columns + tap % kSide;
}

// Words for so many, and from one element of shared memory to the next: an odd number of 16-byte
// groups, so that the rows of a matrix lie in different banks.
inline __host__ __device__ int line_of(int words) { return words + 4; }

}  // namespace pcc::cuda
