// Which of SSD's detections are right. Source: the fork's detection_evaluate_layer.cpp and
// bbox_util.cpp.
#include <map>
#include <utility>
#include <vector>

#include "backends/reference/boxes.h"
#include "backends/reference/reference_op.h"

namespace pcc::reference {
namespace {

template <typename T>
class Evaluation : public ReferenceOp<T> {
 public:
  Evaluation(const EvaluationDesc& desc, const OpSite& site) : ReferenceOp<T>(site), desc_(desc) {}

  void forward(const Context&) override {
    std::map<Place, std::vector<Truth>> truths;
    std::vector<int64_t> counts(static_cast<size_t>(desc_.classes));
    int64_t samples = 0;
    for_each_row(1, 8, [&](const T* row) {
      const Place place = place_of("truth", row);
      const bool difficult = row[7] != 0;
      truths[place].push_back({box_of(place, row + 3), difficult});
      counts[static_cast<size_t>(place.second)] += desc_.use_difficult || !difficult;
      samples = std::max(samples, place.first + 1);
    });
    std::map<Place, std::vector<Found>> found;
    for_each_row(0, 7, [&](const T* row) {
      samples = std::max(samples, static_cast<int64_t>(row[0]) + 1);
      if (row[1] == T(-1)) return;  // it says that there is none
      const Place place = place_of("detection", row);
      found[place].push_back({row[2], box_of(place, row + 3)});
    });
    pictures_ += samples;

    T* y = this->out();
    std::fill_n(y, this->out_shape().count(), T(-1));
    const auto write = [&y](std::initializer_list<T> row) {
      y = std::copy(row.begin(), row.end(), y);
    };
    for (int64_t c = 0; c < desc_.classes; ++c)
      if (c != desc_.background)
        write({T(-1), static_cast<T>(c), static_cast<T>(counts[static_cast<size_t>(c)]), T(-1),
               T(-1)});
    for (auto& [place, list] : found) {
      const auto of_place = truths.find(place);
      if (of_place != truths.end())
        std::stable_sort(list.begin(), list.end(),
                         [](const Found& a, const Found& b) { return a.score > b.score; });
      for (const Found& each : list) {
        const auto [right, wrong] =
            of_place == truths.end() ? std::pair{false, true} : judge(each.box, of_place->second);
        write({static_cast<T>(place.first), static_cast<T>(place.second), each.score,
               static_cast<T>(right), static_cast<T>(wrong)});
      }
    }
  }

 private:
  using Place = std::pair<int64_t, int64_t>;  // sample and class
  struct Truth {
    Box<T> box;
    bool difficult;
    bool taken = false;
  };
  struct Found {
    T score;
    Box<T> box;
  };

  // The rows of an input that are a sample's.
  template <typename Body>
  void for_each_row(int input, int64_t size, Body body) const {
    const T* end = this->in(input) + this->in_shape(input).count();
    for (const T* row = this->in(input); row != end; row += size)
      if (row[0] >= 0 && row[0] < T(1e9)) body(row);
  }
  Place place_of(const char* what, const T* row) const {
    PCC_DATA(row[1] >= 0 && row[1] < static_cast<T>(desc_.classes) &&
                 static_cast<int64_t>(row[1]) != desc_.background,
             "layer '", this->site_.name, "': a ", what, " of sample ", row[0], " has class ",
             row[1], "; expected one of ", desc_.classes, " but for the background's, ",
             desc_.background);
    return {static_cast<int64_t>(row[0]), static_cast<int64_t>(row[1])};
  }

  // Right, wrong, or neither; takes the truth that it finds.
  std::pair<bool, bool> judge(const Box<T>& box, std::vector<Truth>& truths) const {
    const T end = desc_.sizes ? T(1) : T(0);
    Truth* nearest = nullptr;
    T most = -1;
    for (Truth& truth : truths) {
      const T shared = overlap(box, truth.box, end);
      if (shared <= most) continue;
      most = shared;
      nearest = &truth;
    }
    if (!nearest || !(most >= static_cast<T>(desc_.overlap))) return {false, true};
    if (nearest->difficult && !desc_.use_difficult) return {false, false};
    const bool again = std::exchange(nearest->taken, true);
    return {!again, again};
  }

  // Sides as they are told, or in pixels of the sample's picture.
  Box<T> box_of(const Place& place, const T* sides) const {
    Box<T> box = {sides[0], sides[1], sides[2], sides[3]};
    if (!desc_.sizes) return box;
    const std::vector<float>& sizes = *desc_.sizes;
    const size_t at = static_cast<size_t>(pictures_ + place.first) % (sizes.size() / 2) * 2;
    const T height = static_cast<T>(sizes[at]), width = static_cast<T>(sizes[at + 1]);
    T high = height, wide = width;  // what a share of 1 is
    T top = 0, left = 0;
    if (desc_.scaled_height > 0) {
      high = static_cast<T>(desc_.scaled_height);
      wide = static_cast<T>(desc_.scaled_width);
    } else if (const T ratio = static_cast<T>(desc_.padded_ratio); ratio > 0) {
      high = std::max(height, width / ratio);
      wide = std::max(width, height * ratio);
      top = (high - height) / 2;
      left = (wide - width) / 2;
    }
    const auto x = [=](T share) { return std::clamp(share * wide - left, T(0), width); };
    const auto y = [=](T share) { return std::clamp(share * high - top, T(0), height); };
    return {x(box.x1), y(box.y1), x(box.x2), y(box.y2)};
  }

  EvaluationDesc desc_;
  int64_t pictures_ = 0;  // of the passes before
};

}  // namespace

PCC_REFERENCE_OP(EvaluationDesc, Evaluation)

}  // namespace pcc::reference
