// SSD's loss: matches priors with truths, chooses which count, and sums what their shifts and
// classes are worth. Source: the fork's multibox_loss_layer.cpp and bbox_util.cpp.
#include <cfloat>
#include <numeric>
#include <vector>

#include "backends/reference/boxes.h"
#include "backends/reference/reference_op.h"

namespace pcc::reference {
namespace {

template <typename T>
class MultiBox : public ReferenceOp<T> {
 public:
  MultiBox(const MultiBoxDesc& desc, const OpSite& site)
      : ReferenceOp<T>(site),
        desc_(desc),
        samples_(site.in[0].shape[0]),
        count_(site.in[2].shape.count(2) / 4),
        places_(desc.share_location ? 1 : desc.classes),
        truths_(static_cast<size_t>(samples_)) {}

  void forward(const Context&) override {
    read_priors();
    read_truths();
    matched_.clear();
    const bool all = desc_.mining == MultiBoxDesc::Mining::none;
    chosen_.assign(static_cast<size_t>(samples_ * count_), all ? desc_.background : -1);
    for (int64_t n = 0; n < samples_; ++n)
      if (!truths(n).empty()) choose(n);
    double places = 0, classes = 0;
    for (const Matched& each : matched_) places += each.loss;
    for (size_t row = 0; row < chosen_.size(); ++row)
      if (chosen_[row] >= 0) classes += class_loss(static_cast<int64_t>(row), chosen_[row]);
    this->out()[0] = static_cast<T>(
        ((desc_.locates ? desc_.location_weight * places : 0) + (desc_.classifies ? classes : 0)) /
        normalizer());
  }

 protected:
  void backward_needs(OpNeeds& needs) const override { needs.in = {false, true, false, false}; }
  void differentiate(const Context&) override {
    const T weight = static_cast<T>(this->dout()[0] / normalizer());
    if (T* dx = this->din(0)) {
      std::fill_n(dx, this->in_shape(0).count(), T(0));
      for (const Matched& each : matched_)
        for (int i = 0; i < 4 && desc_.locates; ++i)
          dx[each.at + i] = weight * static_cast<T>(desc_.location_weight) * each.slope[i];
    }
    T* dx = this->din(1);
    if (!dx) return;
    std::fill_n(dx, this->in_shape(1).count(), T(0));
    for_each_piece(samples_ * count_, desc_.classes, [=, this](int64_t row) {
      const int64_t label = chosen_[static_cast<size_t>(row)];
      if (label >= 0 && desc_.classifies) pull_class(row, label, weight, dx + row * desc_.classes);
    });
  }

 private:
  struct Truth {
    Box<T> box;
    int64_t label;
  };
  // Which truth a prior belongs to, -1: none, -2: it does not count at all; and by how much they
  // overlap, or the most that any truth does.
  struct Match {
    int64_t truth = -1;
    T overlap = 0;
  };
  // Of a prior's shifts, which begin at `at`: their loss, and its derivatives.
  struct Matched {
    int64_t at;
    double loss;
    T slope[4];
  };

  const std::vector<Truth>& truths(int64_t n) const { return truths_[static_cast<size_t>(n)]; }
  const Box<T>& prior(int64_t p) const { return priors_[static_cast<size_t>(p)]; }
  const T* variance(int64_t p) const { return this->in(2) + 4 * (count_ + p); }

  void read_priors() {
    priors_.clear();
    for (int64_t p = 0; p < count_; ++p) {
      const T* b = this->in(2) + 4 * p;
      const T* v = variance(p);
      PCC_DATA(desc_.code == BoxCode::corner || (b[2] > b[0] && b[3] > b[1]), "layer '",
               this->site_.name, "': prior ", p, " has no size");
      PCC_DATA(v[0] > 0 && v[1] > 0 && v[2] > 0 && v[3] > 0, "layer '", this->site_.name,
               "': the variances of prior ", p, " must be positive");
      priors_.push_back({b[0], b[1], b[2], b[3]});
    }
  }

  void read_truths() {
    for (std::vector<Truth>& list : truths_) list.clear();
    const T* row = this->in(3);
    for (const T* end = row + this->in_shape(3).count(); row != end; row += 8) {
      if (!(row[0] >= 0 && row[0] < static_cast<T>(samples_))) continue;
      if (!desc_.use_difficult && row[7] != 0) continue;
      const T label = row[1];
      PCC_DATA(label >= 0 && label < static_cast<T>(desc_.classes) &&
                   static_cast<int64_t>(label) != desc_.background,
               "layer '", this->site_.name, "': a truth of sample ", row[0], " has class ", label,
               "; expected one of ", desc_.classes, " but for the background's, ",
               desc_.background);
      PCC_DATA(row[5] > row[3] && row[6] > row[4], "layer '", this->site_.name,
               "': a truth of sample ", row[0], " has no size: ", row[3], " ", row[4], " to ",
               row[5], " ", row[6]);
      truths_[static_cast<size_t>(row[0])].push_back(
          {{row[3], row[4], row[5], row[6]}, static_cast<int64_t>(label)});
    }
  }

  double normalizer() const {
    double value = 1;
    switch (desc_.normalization) {
      case Normalization::full:
        value = static_cast<double>(samples_ * count_);
        break;
      case Normalization::valid:
        value = static_cast<double>(matched_.size());
        break;
      case Normalization::batch_size:
        value = static_cast<double>(samples_);
        break;
      case Normalization::none:
        break;
    }
    return std::max(value, 1.0);
  }

  const T* shifts(int64_t n, int64_t p, int64_t place) const {
    return this->in(0) + at(n, p, place);
  }
  int64_t at(int64_t n, int64_t p, int64_t place) const {
    return ((n * count_ + p) * places_ + place) * 4;
  }
  Box<T> predicted(int64_t n, int64_t p, int64_t place) const {
    return decode(desc_, this->in(2) + 4 * p, 4 * count_, shifts(n, p, place));
  }
  std::vector<Box<T>> all_predicted(int64_t n, int64_t place) const {
    return decode_all(desc_, this->in(2), count_, shifts(n, 0, place), 4 * places_);
  }

  // Fills matched_ and chosen_ for one sample.
  void choose(int64_t n) {
    std::vector<Match> of_priors;
    if (desc_.match_priors) of_priors = match(n, priors_, -1);
    for (int64_t place = 0; place < places_; ++place) {
      if (!desc_.share_location && place == desc_.background) continue;
      const int64_t label = desc_.share_location ? -1 : place;
      std::vector<Match> matches = of_priors;
      if (!desc_.match_priors) {
        matches = match(n, all_predicted(n, place), label);
      } else if (label >= 0) {
        for (Match& each : matches)
          if (each.truth >= 0 && truths(n)[static_cast<size_t>(each.truth)].label != label)
            each.truth = -1;
      }
      if (desc_.mining != MultiBoxDesc::Mining::none) mine(n, matches);
      for (int64_t p = 0; p < count_; ++p) {
        const int64_t truth = matches[static_cast<size_t>(p)].truth;
        if (truth < 0) continue;
        matched_.push_back(locate(n, p, place, truth));
        chosen_[static_cast<size_t>(n * count_ + p)] = label_of(n, truth);
      }
    }
  }
  int64_t label_of(int64_t n, int64_t truth) const {
    return desc_.agnostic ? desc_.background + 1 : truths(n)[static_cast<size_t>(truth)].label;
  }

  // Matches boxes with a sample's truths; those of one class only where label >= 0.
  std::vector<Match> match(int64_t n, const std::vector<Box<T>>& boxes, int64_t label) const {
    const std::vector<Truth>& all = truths(n);
    std::vector<Match> matches(boxes.size());
    std::vector<T> overlaps(boxes.size() * all.size(), T(0));
    for (size_t b = 0; b < boxes.size(); ++b) {
      const Box<T>& box = boxes[b];
      if (desc_.ignore_crossing && (box.x1 < 0 || box.x1 > 1 || box.y1 < 0 || box.y1 > 1 ||
                                    box.x2 < 0 || box.x2 > 1 || box.y2 < 0 || box.y2 > 1)) {
        matches[b].truth = -2;
        continue;
      }
      for (size_t t = 0; t < all.size(); ++t) {
        if (label >= 0 && all[t].label != label) continue;
        const T shared = overlap(box, all[t].box, T(0));
        if (!(shared > T(1e-6))) continue;
        overlaps[b * all.size() + t] = shared;
        matches[b].overlap = std::max(matches[b].overlap, shared);
      }
    }
    // Each truth's best, the best pair of all first.
    std::vector<bool> taken(all.size());
    for (;;) {
      T best = 0;
      size_t box = 0, truth = 0;
      for (size_t b = 0; b < boxes.size(); ++b)
        for (size_t t = 0; t < all.size() && matches[b].truth == -1; ++t)
          if (!taken[t] && overlaps[b * all.size() + t] > best) {
            best = overlaps[b * all.size() + t];
            box = b;
            truth = t;
          }
      if (best == 0) break;
      matches[box] = {static_cast<int64_t>(truth), best};
      taken[truth] = true;
    }
    if (desc_.bipartite) return matches;
    for (size_t b = 0; b < boxes.size(); ++b) {
      if (matches[b].truth != -1 || all.empty()) continue;
      const auto first = overlaps.begin() + static_cast<std::ptrdiff_t>(b * all.size());
      const auto best = std::max_element(first, first + static_cast<std::ptrdiff_t>(all.size()));
      if (*best > 0 && *best >= static_cast<T>(desc_.overlap)) matches[b] = {best - first, *best};
    }
    return matches;
  }

  // Chooses the worst of a sample's priors: gives them the background's class, and lets go of
  // matches that are not among the worst where all must be.
  void mine(int64_t n, std::vector<Match>& matches) {
    const bool hard = desc_.mining == MultiBoxDesc::Mining::hard;
    std::vector<T> losses;
    std::vector<int64_t> order;
    int64_t positives = 0;
    for (int64_t p = 0; p < count_; ++p) {
      const Match& each = matches[static_cast<size_t>(p)];
      const int64_t truth = each.truth;
      const int64_t label =
          truth < 0 ? desc_.background : truths(n)[static_cast<size_t>(truth)].label;
      positives += truth >= 0;
      double loss = class_loss(n * count_ + p, label);
      if (hard && truth >= 0) loss += locate(n, p, 0, truth).loss;
      losses.push_back(static_cast<T>(loss));
      if (hard || (truth == -1 && each.overlap < static_cast<T>(desc_.neg_overlap)))
        order.push_back(p);
    }
    const auto most =
        hard ? desc_.sample_size
             : static_cast<int64_t>(static_cast<double>(positives) * desc_.neg_pos_ratio);
    best_first(losses, -1, order);
    if (desc_.nms_threshold > 0) {
      const std::vector<Box<T>> boxes = desc_.nms_priors ? priors_ : all_predicted(n, 0);
      order = suppress(order, boxes, static_cast<T>(desc_.nms_threshold), T(1), T(0),
                       desc_.nms_most < 0 ? count_ : std::max<int64_t>(1, desc_.nms_most));
    }
    if (most < static_cast<int64_t>(order.size())) order.resize(static_cast<size_t>(most));
    std::vector<bool> selected(matches.size());
    for (const int64_t p : order) selected[static_cast<size_t>(p)] = true;
    for (size_t p = 0; p < matches.size(); ++p) {
      if (selected[p] && matches[p].truth == -1)
        chosen_[static_cast<size_t>(n * count_) + p] = desc_.background;
      if (hard && !selected[p] && matches[p].truth >= 0) matches[p].truth = -1;
    }
  }

  Matched locate(int64_t n, int64_t p, int64_t place, int64_t truth) const {
    Matched result{at(n, p, place), 0, {}};
    const Box<T>& target = truths(n)[static_cast<size_t>(truth)].box;
    T goal[4];
    encode(desc_.code, prior(p), target, goal);
    const Box<T> box = desc_.match_priors ? prior(p) : predicted(n, p, place);
    const T sides[4] = {box.x1, box.y1, box.x2, box.y2};
    for (int i = 0; i < 4; ++i) {
      if (desc_.inside_only && (sides[i] < 0 || sides[i] > 1)) continue;
      const T v = variance(p)[i], scale = desc_.variance_in_target ? 1 / v : T(1);
      const T d = shifts(n, p, place)[i] * scale - goal[i] / v;
      const bool square = desc_.square || std::abs(d) < 1;
      result.loss += static_cast<double>(square ? d * d / 2 : std::abs(d) - T(0.5));
      result.slope[i] = scale * (square ? d : d < 0 ? T(-1) : T(1));
    }
    return result;
  }

  double class_loss(int64_t row, int64_t label) const {
    const T* x = this->in(1) + row * desc_.classes;
    if (!desc_.logistic) {
      const auto [most, sum] = exponentials(x);
      const T p = std::exp(x[label] - most) / static_cast<T>(sum);
      return -std::log(static_cast<double>(std::max(p, T(FLT_MIN))));
    }
    return sum_of(desc_.classes, [=](int64_t c) {
      return std::log1p(std::exp(-std::abs(x[c]))) + std::max(x[c], T(0)) -
             (c == label ? x[c] : T(0));
    });
  }
  void pull_class(int64_t row, int64_t label, T weight, T* dx) const {
    const T* x = this->in(1) + row * desc_.classes;
    const auto [most, sum] = exponentials(x);
    for (int64_t c = 0; c < desc_.classes; ++c) {
      const T p =
          desc_.logistic ? 1 / (1 + std::exp(-x[c])) : std::exp(x[c] - most) / static_cast<T>(sum);
      dx[c] = weight * (p - (c == label ? T(1) : T(0)));
    }
  }
  std::pair<T, double> exponentials(const T* x) const {
    const T most = *std::max_element(x, x + desc_.classes);
    return {most, sum_of(desc_.classes, [=](int64_t c) { return std::exp(x[c] - most); })};
  }

  MultiBoxDesc desc_;
  int64_t samples_, count_, places_;
  std::vector<std::vector<Truth>> truths_;  // of each sample
  std::vector<Box<T>> priors_;
  std::vector<Matched> matched_;
  std::vector<int64_t> chosen_;  // the class of each sample's priors, -1: it does not count
};

}  // namespace

PCC_REFERENCE_OP(MultiBoxDesc, MultiBox)

}  // namespace pcc::reference
