// BatchNorm [+ Scale] [+ residual sum] [+ ReLU] as one op.
//
// Forward reads x twice (once with global statistics) and writes y once; backward reads x twice,
// the parts of dy once or twice. Where there are channels enough, a thread takes a block of
// channels through both passes, so that the second finds the block in the cache. Otherwise the
// threads share the samples and meet between the passes. Sources: Ioffe & Szegedy 2015, alg. 1;
// Chan, Golub & LeVeque 1979 for the shifted sums.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "backends/cpu/kernels/kernel_op.h"
#include "backends/cpu/kernels/norm_geometry.h"
#include "backends/cpu/pieces.h"

namespace pcc::cpu {

namespace {

class NormActOp : public Op {
 public:
  NormActOp(const NormActDesc& desc, const OpSite& site)
      : desc_(desc),
        geometry_(site.in[0]),
        loops_(loops().norm),
        isa_(loops().isa),
        channels_(geometry_.channels()),
        groups_(desc.use_global_stats ? 1 : desc.groups),
        group_items_(geometry_.items() / groups_),
        splits_(std::min<int64_t>(pcc::threads(), group_items_)),
        trains_(site.backward()) {
    const int64_t units = groups_ * geometry_.pieces(), threads = pcc::threads();
    by_channel_ = !geometry_.channels_last() && (units % threads == 0 || units >= 4 * threads);
    if (by_channel_) splits_ = 1;
    passed_ = !desc.relu ? Passed::all : desc.add ? Passed::bits : Passed::sign;

    const int64_t per_channel = groups_ * channels_;
    Pieces kept, forward, backward;
    mean_at_ = kept.take(per_channel * 4);
    inverse_at_ = kept.take(per_channel * 4);
    if (passed_ == Passed::bits && trains_) bits_at_ = kept.take(geometry_.bits_bytes());
    pivot_at_ = forward.take(per_channel * 4);
    moments_at_ = forward.take(splits_ * per_channel * static_cast<int64_t>(sizeof(Moments)));
    kept_at_ = trains_ ? 0 : forward.take(kept.total());
    needs_.forward_scratch = forward.total();
    if (!trains_) {
      needs_.in_place = 0;
      return;
    }
    slant_at_ = backward.take(per_channel * 4);
    offset_at_ = backward.take(per_channel * 4);
    back_moments_at_ = backward.take(splits_ * per_channel * static_cast<int64_t>(sizeof(Moments)));
    needs_.overwrites_dparams = true;
    needs_.in.assign(site.in.size(), false);
    needs_.in[0] = true;
    needs_.stash_bytes = kept.total();
    needs_.backward_scratch = backward.total();
    needs_.sums_parts = true;
    needs_.max_parts = kMaxParts;
    // A residual sum without ReLU could pass dy on as it is; but such a sum has several readers as
    // a rule, and one pass less over memory is needed where their parts are summed here.
    needs_.diff_in_place = 0;
  }

  OpNeeds needs() const override { return needs_; }
  std::string implementation() const override { return "kernel " + isa_; }

  void bind(const OpBuffers& buffers) override {
    Op::bind(buffers);
    const auto data = [](const std::vector<Tensor>& list, size_t i) {
      return i < list.size() ? list[i].as<float>() : nullptr;
    };
    x_ = data(buffers.in, 0);
    addend_ = desc_.add ? data(buffers.in, 1) : nullptr;
    y_ = data(buffers.out, 0);
    running_mean_ = data(buffers.params, 0);
    running_variance_ = data(buffers.params, 1);
    factor_ = data(buffers.params, 2);
    gain_ = desc_.gain ? data(buffers.params, 3) : nullptr;
    shift_ = desc_.shift ? data(buffers.params, 4) : nullptr;
    dgain_ = desc_.gain ? data(buffers.dparams, 3) : nullptr;
    dshift_ = desc_.shift ? data(buffers.dparams, 4) : nullptr;
    dx_ = data(buffers.din, 0);
    daddend_ = desc_.add ? data(buffers.din, 1) : nullptr;
    parts_ = 0;
    if (!buffers.dout.empty())
      for (const Tensor& part : buffers.dout[0]) dy_[parts_++] = part.as<float>();

    void* kept = trains_ ? buffers.stash : at(buffers.scratch, kept_at_);
    mean_ = static_cast<float*>(at(kept, mean_at_));
    inverse_ = static_cast<float*>(at(kept, inverse_at_));
    bits_ = bits_at_ < 0 ? nullptr : static_cast<uint8_t*>(at(kept, bits_at_));
    pivot_ = static_cast<float*>(at(buffers.scratch, pivot_at_));
    moments_ = static_cast<Moments*>(at(buffers.scratch, moments_at_));
    if (!trains_) return;
    slant_ = static_cast<float*>(at(buffers.backward_scratch, slant_at_));
    offset_ = static_cast<float*>(at(buffers.backward_scratch, offset_at_));
    back_moments_ = static_cast<Moments*>(at(buffers.backward_scratch, back_moments_at_));
  }

  void forward(const Context& context) override {
    counts_ = context.report->halt == Halt::none;
    if (desc_.use_global_stats) {
      read_global_statistics();
      parallel(geometry_.items(), item_grain(),
               [this](int64_t begin, int64_t end, int) { normalise_all(0, begin, end); });
      return;
    }
    std::fill_n(moments_, splits_ * groups_ * channels_, Moments{});
    if (by_channel_) {
      for_each_unit([this](int64_t group, int64_t piece) {
        const int64_t begin = group * group_items_, end = begin + group_items_;
        find_pivot(group, piece);
        add_moments(group, begin, end, piece, 0);
        finish_statistics(group, piece);
        normalise(group, begin, end, piece);
      });
    } else {
      for (int64_t group = 0; group < groups_; ++group)
        for (int64_t piece = 0; piece < geometry_.pieces(); ++piece) find_pivot(group, piece);
      for_each_split([this](int64_t split, int64_t group, int64_t begin, int64_t end) {
        geometry_.for_tiles(begin, end, [=, this](int64_t first, int64_t last, int64_t piece) {
          add_moments(group, first, last, piece, split);
        });
      });
      for (int64_t group = 0; group < groups_; ++group)
        for (int64_t piece = 0; piece < geometry_.pieces(); ++piece)
          finish_statistics(group, piece);
      for_each_split([this](int64_t, int64_t group, int64_t begin, int64_t end) {
        normalise_all(group, begin, end);
      });
    }
    if (counts_) factor_[0] = factor_[0] * static_cast<float>(desc_.fraction) + 1;
  }

  // With g = dy behind the ReLU: dx = gain / sigma * (g - mean(g) - x^ * mean(g * x^)), means over
  // the group; global statistics: dx = gain / sigma * g. g is written where the addend wants it, or
  // where several parts of dy had to be summed.
  void differentiate(const Context& context) override {
    store_ = daddend_ ? daddend_ : parts_ > 1 ? dx_ : nullptr;
    std::fill_n(back_moments_, splits_ * groups_ * channels_, Moments{});
    if (by_channel_) {
      for_each_unit([this](int64_t group, int64_t piece) {
        const int64_t begin = group * group_items_, end = begin + group_items_;
        add_gradients(group, begin, end, piece, 0);
        finish_gradients(group, piece);
        if (dx_) differentiate(group, begin, end, piece);
      });
    } else {
      for_each_split([this](int64_t split, int64_t group, int64_t begin, int64_t end) {
        geometry_.for_tiles(begin, end, [=, this](int64_t first, int64_t last, int64_t piece) {
          add_gradients(group, first, last, piece, split);
        });
      });
      for (int64_t group = 0; group < groups_; ++group)
        for (int64_t piece = 0; piece < geometry_.pieces(); ++piece) finish_gradients(group, piece);
      if (dx_)
        for_each_split([this](int64_t, int64_t group, int64_t begin, int64_t end) {
          geometry_.for_tiles(begin, end, [=, this](int64_t first, int64_t last, int64_t piece) {
            differentiate(group, first, last, piece);
          });
        });
    }
    const bool new_gain = overwrites(context, 3), new_shift = overwrites(context, 4);
    for (int64_t group = 0; group < groups_; ++group)
      for (int64_t c = 0; c < channels_; ++c) {
        const Moments total = sum_of_splits(back_moments_, group, c);
        const float dshift = static_cast<float>(total.a);
        const float dgain = static_cast<float>(total.b * inverse_[index(group, c)]);
        if (dshift_) dshift_[c] = group == 0 && new_shift ? dshift : dshift_[c] + dshift;
        if (dgain_) dgain_[c] = group == 0 && new_gain ? dgain : dgain_[c] + dgain;
      }
  }

 private:
  int64_t index(int64_t group, int64_t c) const { return group * channels_ + c; }
  // Items worth a thread.
  int64_t item_grain() const {
    return std::max<int64_t>(1, (16 << 10) / (channels_ * geometry_.numbers_per_item()));
  }

  // How the work is cut. A unit is a group's piece, with all its items; a split is a thread's share
  // of the items of all groups.
  template <typename Body>
  void for_each_unit(Body&& body) {
    const int64_t pieces = geometry_.pieces();
    parallel(groups_ * pieces, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t unit = begin; unit < end; ++unit) body(unit / pieces, unit % pieces);
    });
  }
  template <typename Body>
  void for_each_split(Body&& body) {
    parallel(splits_, 1, [&](int64_t first, int64_t last, int) {
      for (int64_t split = first; split < last; ++split)
        for (int64_t group = 0; group < groups_; ++group) {
          const int64_t base = group * group_items_;
          body(split, group, base + group_items_ * split / splits_,
               base + group_items_ * (split + 1) / splits_);
        }
    });
  }

  Moments sum_of_splits(const Moments* moments, int64_t group, int64_t c) const {
    Moments total;
    for (int64_t split = 0; split < splits_; ++split) {
      const Moments& part = moments[index(split * groups_ + group, c)];
      total.a += part.a;
      total.b += part.b;
    }
    return total;
  }

  // A number near the mean of each channel, around which squares are summed: without it the
  // variance of large numbers that differ little would be lost in rounding. The mean of a few items
  // is near enough.
  void find_pivot(int64_t group, int64_t piece) {
    const int64_t begin = group * group_items_;
    const int64_t items =
        std::min(group_items_, std::max<int64_t>(1, 64 / geometry_.numbers_per_item()));
    const float zero[16] = {};
    double sum[16] = {}, squares[16] = {};
    geometry_.for_views(begin, begin + items, piece,
                        [&](const NormView& view, int64_t first, int64_t) {
                          loops_.moments(view, x_ + first, zero, sum, squares);
                        });
    // moments_ is zero here and serves as the place to add up in.
    Moments* place = moments_ + index(group, 0);
    geometry_.from_lanes(sum, squares, piece, place);
    for (int64_t c = geometry_.first_channel(piece); c < geometry_.end_channel(piece); ++c) {
      const double mean = place[c].a / static_cast<double>(items * geometry_.numbers_per_item());
      pivot_[index(group, c)] = std::isfinite(mean) ? static_cast<float>(mean) : 0;
      place[c] = Moments{};
    }
  }

  void add_moments(int64_t group, int64_t begin, int64_t end, int64_t piece, int64_t split) {
    float pivot[16];
    geometry_.to_lanes(pivot_ + index(group, 0), piece, 0, pivot);
    double sum[16] = {}, squares[16] = {};
    geometry_.for_views(begin, end, piece, [&](const NormView& view, int64_t first, int64_t) {
      loops_.moments(view, x_ + first, pivot, sum, squares);
    });
    geometry_.from_lanes(sum, squares, piece, moments_ + index(split * groups_ + group, 0));
  }

  void finish_statistics(int64_t group, int64_t piece) {
    const double m = static_cast<double>(group_items_ * geometry_.numbers_per_item());
    for (int64_t c = geometry_.first_channel(piece); c < geometry_.end_channel(piece); ++c) {
      const Moments total = sum_of_splits(moments_, group, c);
      const double distance = total.a / m;
      const double mean = static_cast<double>(pivot_[index(group, c)]) + distance;
      const double raw = total.b / m - distance * distance, variance = raw < 0 ? 0 : raw;
      mean_[index(group, c)] = static_cast<float>(mean);
      inverse_[index(group, c)] = static_cast<float>(1 / std::sqrt(variance + desc_.eps));
      if (group > 0 || !counts_) continue;  // the running averages are replica 0's
      const float fraction = static_cast<float>(desc_.fraction);
      const double unbiased = m > 1 ? m / (m - 1) : 1;
      running_mean_[c] = fraction * running_mean_[c] + static_cast<float>(mean);
      running_variance_[c] =
          fraction * running_variance_[c] + static_cast<float>(unbiased * variance);
    }
  }

  void read_global_statistics() {
    const float scale = factor_[0] == 0 ? 0 : 1 / factor_[0];
    for (int64_t c = 0; c < channels_; ++c) {
      mean_[c] = running_mean_[c] * scale;
      const double variance = static_cast<double>(running_variance_[c] * scale);
      inverse_[c] = static_cast<float>(1 / std::sqrt(variance + desc_.eps));
    }
  }

  NormLanes lanes_of(int64_t group, int64_t piece) const {
    NormLanes lanes;
    float gain[16];
    geometry_.to_lanes(mean_ + index(group, 0), piece, 0, lanes.mean);
    geometry_.to_lanes(inverse_ + index(group, 0), piece, 0, lanes.gain);
    geometry_.to_lanes(gain_, piece, 1, gain);
    geometry_.to_lanes(shift_, piece, 0, lanes.shift);
    for (int lane = 0; lane < 16; ++lane) lanes.gain[lane] *= gain[lane];
    lanes.slope = static_cast<float>(desc_.negative_slope);
    lanes.relu = desc_.relu;
    return lanes;
  }

  void normalise(int64_t group, int64_t begin, int64_t end, int64_t piece) {
    const NormLanes lanes = lanes_of(group, piece);
    geometry_.for_views(begin, end, piece, [&](const NormView& view, int64_t at, int64_t bits_at) {
      loops_.forward(view, lanes, x_ + at, addend_ ? addend_ + at : nullptr, y_ + at,
                     bits_ ? bits_ + bits_at : nullptr);
    });
  }
  void normalise_all(int64_t group, int64_t begin, int64_t end) {
    geometry_.for_tiles(begin, end, [=, this](int64_t first, int64_t last, int64_t piece) {
      normalise(group, first, last, piece);
    });
  }

  void add_gradients(int64_t group, int64_t begin, int64_t end, int64_t piece, int64_t split) {
    const NormLanes lanes = lanes_of(group, piece);
    double dshift[16] = {}, dgain[16] = {};
    geometry_.for_views(begin, end, piece, [&](const NormView& view, int64_t at, int64_t bits_at) {
      const float* dy[kMaxParts];
      for (int part = 0; part < parts_; ++part) dy[part] = dy_[part] + at;
      loops_.backward_sums(view, lanes, passed_, x_ + at, bits_ ? bits_ + bits_at : nullptr, dy,
                           parts_, store_ ? store_ + at : nullptr, dshift, dgain);
    });
    geometry_.from_lanes(dshift, dgain, piece, back_moments_ + index(split * groups_ + group, 0));
  }

  // dx = scale * g + slant * (x - mean) + offset: the last two from the sums.
  void finish_gradients(int64_t group, int64_t piece) {
    const double m = static_cast<double>(group_items_ * geometry_.numbers_per_item());
    for (int64_t c = geometry_.first_channel(piece); c < geometry_.end_channel(piece); ++c) {
      const int64_t i = index(group, c);
      slant_[i] = offset_[i] = 0;
      if (desc_.use_global_stats || m == 1) continue;
      const Moments total = sum_of_splits(back_moments_, group, c);
      const double inverse = inverse_[i], scale = inverse * (gain_ ? gain_[c] : 1);
      slant_[i] = static_cast<float>(-scale * inverse * inverse * total.b / m);
      offset_[i] = static_cast<float>(-scale * total.a / m);
    }
  }

  void differentiate(int64_t group, int64_t begin, int64_t end, int64_t piece) {
    const NormLanes lanes = lanes_of(group, piece);
    float scale[16], slant[16], offset[16];
    // A number that is its own mean has no gradient: zero, not what rounding leaves of it.
    const bool lone = !desc_.use_global_stats && group_items_ * geometry_.numbers_per_item() == 1;
    for (int lane = 0; lane < 16; ++lane) scale[lane] = lone ? 0 : lanes.gain[lane];
    geometry_.to_lanes(slant_ + index(group, 0), piece, 0, slant);
    geometry_.to_lanes(offset_ + index(group, 0), piece, 0, offset);
    const Passed passed = store_ ? Passed::all : passed_;
    const float* g = store_ ? store_ : dy_[0];
    geometry_.for_views(begin, end, piece, [&](const NormView& view, int64_t at, int64_t bits_at) {
      loops_.backward_data(view, lanes, passed, x_ + at, bits_ ? bits_ + bits_at : nullptr, g + at,
                           scale, slant, offset, dx_ + at);
    });
  }

  NormActDesc desc_;
  NormGeometry geometry_;
  NormLoops loops_;
  std::string isa_;
  int64_t channels_, groups_, group_items_, splits_;
  bool trains_, by_channel_ = false;
  Passed passed_ = Passed::all;
  OpNeeds needs_;
  int64_t mean_at_ = 0, inverse_at_ = 0, bits_at_ = -1, pivot_at_ = 0, moments_at_ = 0,
          kept_at_ = 0;
  int64_t slant_at_ = 0, offset_at_ = 0, back_moments_at_ = 0;

  const float *x_ = nullptr, *addend_ = nullptr, *gain_ = nullptr, *shift_ = nullptr;
  const float* dy_[kMaxParts] = {};
  int parts_ = 0;
  bool counts_ = true;  // whether this pass moves the running statistics: not after an error
  float *y_ = nullptr, *running_mean_ = nullptr, *running_variance_ = nullptr, *factor_ = nullptr;
  float *dx_ = nullptr, *daddend_ = nullptr, *dgain_ = nullptr, *dshift_ = nullptr;
  float* store_ = nullptr;  // where g is written
  float *mean_ = nullptr, *inverse_ = nullptr, *pivot_ = nullptr;
  float *slant_ = nullptr, *offset_ = nullptr;
  uint8_t* bits_ = nullptr;
  Moments *moments_ = nullptr, *back_moments_ = nullptr;
};

}  // namespace

std::unique_ptr<Op> make_norm_act(const NormActDesc& desc, const OpSite& site) {
  PCC_CHECK(desc.use_global_stats || site.in[0].shape[0] % desc.groups == 0, "'", site.name,
            "': ", site.in[0].shape[0], " samples do not divide by ", desc.groups, " groups");
  if (site.in[0].layout != site.out[0].layout) return nullptr;
  return std::make_unique<NormActOp>(desc, site);
}

}  // namespace pcc::cpu
