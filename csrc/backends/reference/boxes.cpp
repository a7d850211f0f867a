// Detection: pooling of boxes, Faster R-CNN's proposals, SSD's detections. Source: the forks'
// roi_pooling_layer.cpp; proposal_layer.py; detection_output_layer.cpp and bbox_util.cpp.
#include <cfloat>
#include <map>
#include <numeric>
#include <vector>

#include "backends/reference/boxes.h"
#include "backends/reference/reference_op.h"
#include "ops/rows.h"

namespace pcc::reference {
namespace {

template <typename T>
class RoiPool : public ReferenceOp<T> {
 public:
  RoiPool(const RoiPoolDesc& desc, const OpSite& site)
      : ReferenceOp<T>(site), scale_(static_cast<T>(desc.spatial_scale)) {}

  void forward(const Context&) override {
    const int64_t channels = this->out_shape()[1];
    for (int64_t roi = 0; roi < this->out_shape()[0]; ++roi) sample(roi);
    for_each_piece(this->out_shape()[0] * channels, area(), [=, this](int64_t piece) {
      pool(piece / channels, piece % channels, piece * this->out_shape().count(2));
    });
  }

 protected:
  void backward_needs(OpNeeds& needs) const override {
    needs.in = {false, true};
    needs.stash_bytes = this->out_shape().count() * static_cast<int64_t>(sizeof(int32_t));
  }
  void differentiate(const Context&) override {
    T* dx = this->din(0);
    const T* dy = this->dout();
    const int32_t* winners = static_cast<const int32_t*>(this->buffers_.stash);
    std::fill_n(dx, this->in_shape(0).count(), T(0));
    const int64_t channels = this->out_shape()[1], bins = this->out_shape().count(2);
    for (int64_t i = 0; i < this->out_shape().count(); ++i) {
      const int64_t roi = i / bins / channels, c = i / bins % channels;
      if (winners[i] >= 0) dx[(sample(roi) * channels + c) * area() + winners[i]] += dy[i];
    }
  }

 private:
  int64_t area() const { return this->in_shape(0).count(2); }
  const T* box(int64_t roi) const { return this->in(1) + roi * this->in_shape(1).count(1); }
  int64_t sample(int64_t roi) const {
    const T n = box(roi)[0];
    const int64_t samples = this->in_shape(0)[0];
    PCC_DATA(n > T(-1) && n < static_cast<T>(samples), "layer '", this->site_.name, "': box ", roi,
             " is of sample ", n, ", but there are ", samples, " (0 to ", samples - 1, ")");
    return static_cast<int64_t>(n);
  }
  // The part of [0, size) that bin `index` of `bins` covers, of a box from `low` to `high`.
  std::pair<int64_t, int64_t> bin(int64_t index, int64_t bins, T low, T high, int64_t size) const {
    const double limit = 1e9;
    const auto edge = [=, this](T at) {
      return std::clamp(std::round(static_cast<double>(at * scale_)), -limit, limit);
    };
    const double from = edge(low), length = std::max(edge(high) - from + 1, 1.0);
    const T step = static_cast<T>(length) / static_cast<T>(bins);
    const auto cut = [=](double at) {
      return std::clamp(static_cast<int64_t>(at + from), int64_t{0}, size);
    };
    return {cut(std::floor(static_cast<double>(static_cast<T>(index) * step))),
            cut(std::ceil(static_cast<double>(static_cast<T>(index + 1) * step)))};
  }
  void pool(int64_t roi, int64_t channel, int64_t first) {
    const int64_t rows = this->out_shape()[2], columns = this->out_shape()[3];
    const int64_t height = this->in_shape(0)[2], width = this->in_shape(0)[3];
    const T* x = this->in(0) + (sample(roi) * this->out_shape()[1] + channel) * height * width;
    const T* b = box(roi);
    int32_t* winners =
        this->trains() ? static_cast<int32_t*>(this->buffers_.stash) + first : nullptr;
    T* y = this->out() + first;
    for (int64_t p = 0; p < rows; ++p) {
      const auto [top, bottom] = bin(p, rows, b[2], b[4], height);
      for (int64_t q = 0; q < columns; ++q) {
        const auto [left, right] = bin(q, columns, b[1], b[3], width);
        int64_t winner = -1;
        T best = top < bottom && left < right ? static_cast<T>(-FLT_MAX) : T(0);
        for (int64_t h = top; h < bottom; ++h)
          for (int64_t w = left; w < right; ++w)
            if (x[h * width + w] > best) best = x[winner = h * width + w];
        *y++ = best;
        if (winners) *winners++ = static_cast<int32_t>(winner);
      }
    }
  }
  T scale_;
};

template <typename T>
class Proposal : public ReferenceOp<T> {
 public:
  Proposal(const ProposalDesc& desc, const OpSite& site) : ReferenceOp<T>(site), desc_(desc) {}

  void forward(const Context&) override {
    const int64_t anchors = static_cast<int64_t>(desc_.anchors.size() / 4);
    const int64_t width = this->in_shape(0)[3], area = this->in_shape(0)[2] * width;
    const T least = static_cast<T>(desc_.min_size) * this->in(2)[2];
    std::vector<Box<T>> boxes;
    std::vector<T> scores;
    std::vector<int64_t> order;
    for (int64_t at = 0; at < area; ++at)
      for (int64_t a = 0; a < anchors; ++a) {
        boxes.push_back(box(a, at, at % width, at / width, area));
        scores.push_back(this->in(0)[(anchors + a) * area + at]);
        const Box<T>& b = boxes.back();
        if (b.x2 - b.x1 + 1 >= least && b.y2 - b.y1 + 1 >= least)
          order.push_back(static_cast<int64_t>(boxes.size()) - 1);
      }
    best_first(scores, desc_.pre_nms, order);
    const std::vector<int64_t> kept =
        suppress(order, boxes, static_cast<T>(desc_.nms_threshold), T(1), T(1), desc_.post_nms);
    const int64_t rows = std::max<int64_t>(1, static_cast<int64_t>(kept.size()));
    if (rows != this->out_shape()[0]) throw RowsChanged{this->site_.name, rows};
    T* row = this->out();
    T* score = this->outs() > 1 ? this->out(1) : nullptr;
    if (kept.empty()) {
      std::fill_n(row, 5, T(0));
      if (score) *score = 0;
    }
    for (const int64_t each : kept) {
      const auto k = static_cast<size_t>(each);
      const T values[] = {T(0), boxes[k].x1, boxes[k].y1, boxes[k].x2, boxes[k].y2};
      row = std::copy_n(values, 5, row);
      if (score) *score++ = scores[k];
    }
  }

 private:
  // Anchor `a` at a position, moved and stretched by its shifts, inside the image.
  Box<T> box(int64_t a, int64_t at, int64_t column, int64_t row, int64_t area) const {
    const double* anchor = &desc_.anchors[static_cast<size_t>(4 * a)];
    const T* shift = this->in(1) + 4 * a * area + at;
    const T width = static_cast<T>(anchor[2] - anchor[0] + 1);
    const T height = static_cast<T>(anchor[3] - anchor[1] + 1);
    const T left = static_cast<T>(anchor[0] + static_cast<double>(column * desc_.stride));
    const T top = static_cast<T>(anchor[1] + static_cast<double>(row * desc_.stride));
    const T x = left + width / 2 + shift[0] * width, y = top + height / 2 + shift[area] * height;
    const T w = std::exp(shift[2 * area]) * width / 2, h = std::exp(shift[3 * area]) * height / 2;
    const T right_end = this->in(2)[1] - 1, bottom_end = this->in(2)[0] - 1;
    const auto inside = [](T value, T end) { return std::max(std::min(value, end), T(0)); };
    return {inside(x - w, right_end), inside(y - h, bottom_end), inside(x + w, right_end),
            inside(y + h, bottom_end)};
  }
  ProposalDesc desc_;
};

template <typename T>
class Detection : public ReferenceOp<T> {
 public:
  Detection(const DetectionDesc& desc, const OpSite& site)
      : ReferenceOp<T>(site), desc_(desc), priors_(site.in[2].shape.count(2) / 4) {}

  void forward(const Context&) override {
    T* row = this->out();
    std::fill_n(row, this->out_shape().count(), T(-1));
    for (int64_t n = 0; n < this->in_shape(0)[0]; ++n) row = detect(n, row);
    if (row != this->out()) return;
    for (int64_t n = 0; n < std::min(this->in_shape(0)[0], this->out_shape().count() / 7); ++n)
      this->out()[7 * n] = static_cast<T>(n);
  }

 private:
  struct Found {
    T score;
    int64_t label;
    Box<T> box;
  };

  // Writes a sample's rows; returns where the next sample's begin.
  T* detect(int64_t n, T* row) const {
    std::vector<Found> found;
    std::vector<Box<T>> boxes;
    for (int64_t c = 0; c < desc_.classes; ++c) {
      if (boxes.empty() || !desc_.share_location) boxes = boxes_of(n, desc_.share_location ? 0 : c);
      if (c == desc_.background) continue;
      std::vector<T> scores(static_cast<size_t>(priors_));
      std::vector<int64_t> order;
      for (int64_t p = 0; p < priors_; ++p) {
        scores[static_cast<size_t>(p)] = this->in(1)[(n * priors_ + p) * desc_.classes + c];
        if (scores[static_cast<size_t>(p)] > static_cast<T>(desc_.least_confidence))
          order.push_back(p);
      }
      best_first(scores, desc_.top_k, order);
      for (const int64_t p : suppress(order, boxes, static_cast<T>(desc_.nms_threshold),
                                      static_cast<T>(desc_.eta), T(0), priors_))
        found.push_back({scores[static_cast<size_t>(p)], c, boxes[static_cast<size_t>(p)]});
    }
    if (desc_.keep_top_k >= 0 && static_cast<int64_t>(found.size()) > desc_.keep_top_k) {
      std::stable_sort(found.begin(), found.end(),
                       [](const Found& a, const Found& b) { return a.score > b.score; });
      found.resize(static_cast<size_t>(desc_.keep_top_k));
      std::stable_sort(found.begin(), found.end(),
                       [](const Found& a, const Found& b) { return a.label < b.label; });
    }
    for (const auto& [score, label, box] : found) {
      const T values[] = {
          static_cast<T>(n), static_cast<T>(label), score, box.x1, box.y1, box.x2, box.y2};
      row = std::copy_n(values, 7, row);
    }
    return row;
  }

  std::vector<Box<T>> boxes_of(int64_t n, int64_t place) const {
    const int64_t places = desc_.share_location ? 1 : desc_.classes;
    const T* shifts = this->in(0) + (n * priors_ * places + place) * 4;
    return decode_all(desc_, this->in(2), priors_, shifts, places * 4);
  }

  DetectionDesc desc_;
  int64_t priors_;
};

}  // namespace

PCC_REFERENCE_OP(RoiPoolDesc, RoiPool)
PCC_REFERENCE_OP(ProposalDesc, Proposal)
PCC_REFERENCE_OP(DetectionDesc, Detection)

}  // namespace pcc::reference
