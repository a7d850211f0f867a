// Pooling with Caffe's rules: output sizes rounded up, windows clipped, averages divided by the
// window clipped to the padding. Own kernels: oneDNN's divide by the whole window, and have no
// vectors for plain layout.
#include <algorithm>
#include <cstring>

#include "backends/cpu/kernels/pool_loops.h"
#include "backends/cpu/kernels/tables.h"
#include "backends/cpu/makers.h"
#include "core/parallel.h"
#include "ops/window.h"

namespace pcc::cpu {

PCC_TABLES(PoolLoops, pool_table)

const PoolLoops& pool_loops() { return pick_pool_table(loops().isa); }

namespace {

// The windows of one axis, after clipping.
struct Windows {
  std::vector<int32_t> begin, end, start;
  std::vector<int64_t> extent;  // clipped to the padding only: what an average divides by
  int64_t size;

  Windows(const PoolDesc& desc, const OpSite& site, int axis) : size(site.in[0].shape[2 + axis]) {
    for (int64_t i = 0; i < site.out[0].shape[2 + axis]; ++i) {
      const Window window(i, desc.kernel[axis], desc.stride[axis], desc.pad[axis], size);
      start.push_back(static_cast<int32_t>(i * desc.stride[axis] - desc.pad[axis]));
      extent.push_back(window.width);
      begin.push_back(static_cast<int32_t>(window.begin));
      end.push_back(static_cast<int32_t>(window.end));
    }
  }
  bool any_empty() const {
    for (size_t i = 0; i < begin.size(); ++i)
      if (begin[i] >= end[i]) return true;
    return false;
  }
  PoolAxis axis() const {
    return {begin.data(), end.data(), start.data(), size, static_cast<int64_t>(begin.size())};
  }
};

class PoolOp : public Op {
 public:
  PoolOp(const PoolDesc& desc, const OpSite& site, Windows rows, Windows columns)
      : max_(desc.method == PoolDesc::Method::max),
        backward_(site.backward()),
        rows_(std::move(rows)),
        columns_(std::move(columns)),
        loops_(pool_loops()),
        isa_(loops().isa) {
    const Shape& x = site.in[0].shape;
    const int64_t block = site.in[0].layout == Layout::nhwc ? x[1] : block_of(site.in[0].layout);
    planes_ = x[0] * x[1] / block;
    for (const int64_t height : rows_.extent)
      for (const int64_t width : columns_.extent)
        divisor_.push_back(static_cast<float>(height * width));
    plane_ = {rows_.axis(), columns_.axis(), block, block, desc.kernel[1], divisor_.data()};
    x_plane_ = x[2] * x[3] * block;
    y_plane_ = plane_.rows.windows * plane_.columns.windows * block;
    small_ = desc.kernel[0] * desc.kernel[1] <= 256;
    halves_ = max_ && block == 1;
    for (int axis = 0; axis < 2; ++axis)
      halves_ = halves_ && desc.kernel[axis] == 2 && desc.stride[axis] == 2 &&
                desc.pad[axis] == 0 && x[2 + axis] % 2 == 0;
    grain_ = std::max<int64_t>(1, 8192 / x_plane_);
    if (max_ && backward_) needs_.stash_bytes = planes_ * y_plane_ * (small_ ? 1 : 4);
  }

  OpNeeds needs() const override { return needs_; }

  void forward(const Context&) override {
    const float* const x = buffers_.in[0].as<float>();
    float* const y = buffers_.out[0].as<float>();
    void* const stash = backward_ ? buffers_.stash : nullptr;
    parallel(planes_, grain_, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const float* const from = x + i * x_plane_;
        float* const to = y + i * y_plane_;
        if (!max_)
          loops_.average(plane_, from, to);
        else if (halves_)
          loops_.halve(plane_.rows.size, plane_.columns.size, from, to, index<uint8_t>(stash, i));
        else if (small_)
          loops_.small.forward(plane_, from, to, index<uint8_t>(stash, i));
        else
          loops_.large.forward(plane_, from, to, index<int32_t>(stash, i));
      }
    });
  }

  void differentiate(const Context&) override {
    float* const dx = buffers_.din[0].as<float>();
    if (!dx) return;
    if (buffers_.dout[0].empty()) {  // only the mask has a gradient, which means nothing
      std::memset(dx, 0, static_cast<size_t>(planes_ * x_plane_) * sizeof(float));
      return;
    }
    const float* const dy = buffers_.dout[0][0].as<float>();
    parallel(planes_, grain_, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const float* const from = dy + i * y_plane_;
        float* const to = dx + i * x_plane_;
        if (!max_)
          loops_.average_backward(plane_, from, to);
        else if (halves_)
          loops_.halve_backward(plane_.rows.size, plane_.columns.size, from,
                                index<uint8_t>(buffers_.stash, i), to);
        else if (small_)
          loops_.small.backward(plane_, from, index<uint8_t>(buffers_.stash, i), to);
        else
          loops_.large.backward(plane_, from, index<int32_t>(buffers_.stash, i), to);
      }
    });
  }

  std::string implementation() const override { return concat("kernel ", isa_); }

 private:
  template <typename Index>
  Index* index(void* stash, int64_t plane) const {
    return stash ? static_cast<Index*>(stash) + plane * y_plane_ : nullptr;
  }

  bool max_, backward_, small_ = true, halves_ = false;
  Windows rows_, columns_;
  const PoolLoops& loops_;
  const char* isa_;
  std::vector<float> divisor_;
  PoolPlane plane_;
  int64_t planes_ = 0, x_plane_ = 0, y_plane_ = 0, grain_ = 1;
  OpNeeds needs_;
};

// A 1x1 plane lies the same way in every layout.
bool is_one_by_one(const Shape& shape) { return shape[2] == 1 && shape[3] == 1; }

}  // namespace

std::unique_ptr<Op> make_pool(const PoolDesc& desc, const OpSite& site) {
  if (site.out.size() > 1) return nullptr;  // a top for the mask
  if (desc.method == PoolDesc::Method::stochastic) return nullptr;
  if (site.in[0].layout != site.out[0].layout && !is_one_by_one(site.out[0].shape)) return nullptr;
  Windows rows(desc, site, 0), columns(desc, site, 1);
  if (rows.any_empty() || columns.any_empty()) return nullptr;
  return std::make_unique<PoolOp>(desc, site, std::move(rows), std::move(columns));
}

LayoutChoice vote_pool(const PoolDesc&, const OpSite& site) {
  if (site.out.size() > 1) return vote_plain(site);
  LayoutChoice choice = vote_follow(site);
  // Global pooling is followed by an inner product, which wants plain: say so, and no reorder is
  // needed.
  if (is_one_by_one(site.out[0].shape)) choice.out[0] = Layout::plain;
  return choice;
}

}  // namespace pcc::cpu
