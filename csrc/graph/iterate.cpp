// An iteration in one piece: nothing of what the host does lies between its passes and its update.
#include <algorithm>

#include "core/parallel.h"
#include "graph/net.h"

namespace pcc {

bool Net::iterate(const StepBlock& rates, int32_t passes, std::span<Unit* const> beside) {
  // What is sent lies there for one pass; and users' arrays are taken in between.
  if (device_->host_visible() || takers_.join || looked_at() || (passes > 1 && !feeds_.resident()))
    return false;
  if (varies(static_cast<int>(built_.layers.size()))) return false;
  const InUse::Pass pass(*in_use_);
  const ThreadScope scope(threads_);
  if (!whole_ || whole_->steps.size() != static_cast<size_t>(passes) ||
      !std::equal(beside.begin(), beside.end(), whole_->beside.begin(), whole_->beside.end()))
    whole_ = make_whole(passes, beside);
  if (whole_->parts.empty()) return false;
  take_in_params();
  feeds_.advance(0, static_cast<int>(built_.layers.size()) - 1, step_.pass + 1, passes);
  set_rates(rates);
  step_.parts = passes;
  for (step_.part = 0; step_.part < passes; ++step_.part) {
    ++step_.pass;
    whole_->steps[static_cast<size_t>(step_.part)] = step_;
  }
  device_->upload(whole_->memory->data(), whole_->steps.data(), whole_->memory->bytes());
  clear_stale_diffs();
  device_->run(whole_->parts, whole_->recording);
  ++*params_version_;
  give_back_params();
  return true;
}

// Without parts where the host has one of them.
std::unique_ptr<Net::Whole> Net::make_whole(int32_t passes, std::span<Unit* const> beside) {
  auto whole = std::make_unique<Whole>();
  whole->steps.resize(static_cast<size_t>(passes));
  whole->beside.assign(beside.begin(), beside.end());
  whole->memory = device_->allocate(static_cast<int64_t>(sizeof(StepBlock)) * passes);
  if (plan_->prepare_course().visits_host() || both_course_.visits_host()) return whole;
  const auto* const steps = reinterpret_cast<const StepBlock*>(whole->memory->data());
  plan_->prepare_course().add_to(whole->parts, context());
  for (int32_t part = 0; part < passes; ++part) {
    Context own = context(part == 0);
    own.step = steps + part;
    (part == 0 ? first_course_ : both_course_).add_to(whole->parts, own);
  }
  Context last = context();
  last.step = steps + passes - 1;
  for (Unit* const unit : beside) whole->parts.push_back({unit, last});
  return whole;
}

}  // namespace pcc
