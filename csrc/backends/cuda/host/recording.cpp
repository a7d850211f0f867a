#include "backends/cuda/host/recording.h"

#include <utility>

#include "backends/cuda/host/modes.h"
#include "core/check.h"

namespace pcc::cuda {

void Queue::add(Work work) {
  ++asked_;
  if (host::modes().streams == host::Streams::now && waiting_.empty()) {
    ++done_;
    work();
  } else {
    waiting_.push_back(std::move(work));
  }
}

void Queue::finish(int64_t count) {
  while (done_ < count) {
    const Work work = std::move(waiting_.front());
    waiting_.pop_front();
    ++done_;
    work();
  }
}

int Recording::add_branch() {
  branches_.emplace_back();
  return static_cast<int>(branches_.size()) - 1;
}

void Recording::add(int branch, Work work) {
  branches_[static_cast<size_t>(branch)].push_back(steps_.size());
  steps_.push_back({branch, std::move(work)});
}

int Recording::add_mark(int branch) {
  marks_.push_back({branch, branches_[static_cast<size_t>(branch)].size()});
  return static_cast<int>(marks_.size()) - 1;
}

void Recording::add_wait(int branch, int mark) {
  branches_[static_cast<size_t>(branch)].push_back(steps_.size());
  steps_.push_back({branch, {}, mark});
}

// Goes along a branch until `end` of its steps are done, and along others where it waits for them.
void Recording::follow(int branch, size_t end, std::vector<size_t>& done, bool works) const {
  const auto b = static_cast<size_t>(branch);
  while (done[b] < end) {
    const Step& step = steps_[branches_[b][done[b]++]];
    if (!step.work) {
      const Mark& mark = marks_[static_cast<size_t>(step.mark)];
      follow(mark.branch, mark.position, done, works);
    } else if (works) {
      step.work();
    }
  }
}

void Recording::check_joined() const {
  std::vector<size_t> done(branches_.size(), 0);
  follow(0, branches_[0].size(), done, false);
  for (size_t b = 0; b < done.size(); ++b)
    for (; done[b] < branches_[b].size(); ++done[b])
      PCC_CHECK(!steps_[branches_[b][done[b]]].work,
                "a recording ends before the work of a stream that takes part is waited for");
}

void Recording::replay(bool late) const {
  if (late) {
    std::vector<size_t> done(branches_.size(), 0);
    return follow(0, branches_[0].size(), done, true);
  }
  for (const Step& step : steps_)
    if (step.work) step.work();
}

}  // namespace pcc::cuda
