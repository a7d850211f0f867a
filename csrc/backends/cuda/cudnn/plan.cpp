#include "backends/cuda/cudnn/plan.h"

#include <algorithm>
#include <set>

namespace pcc::cudnn {
namespace {

using api::Kind;
using api::Name;
using api::Note;
using api::Type;

// Of an engine; more than cuDNN has kinds of.
constexpr int64_t kMostNotes = 32, kMostKnobs = 64;

// Configurations of engines by one of cuDNN's heuristics, best first.
std::vector<Descriptor> offers(const Graph& graph, const Target& target, int mode) {
  Descriptor heuristic(target.library(), Kind::heuristic);
  heuristic.set(Name::heuristic_graph, graph.whole());
  heuristic.set(Name::heuristic_mode, Type::heuristic_mode, mode);
  target.tell_heuristic(heuristic);
  heuristic.finalize("look for engines");
  const int64_t count = heuristic.count(Name::heuristic_results, Type::descriptor);
  if (count == 0) return {};
  return heuristic.children(Name::heuristic_results, Kind::engine_config, count);
}

std::string name_of_config(const Descriptor& config, const Descriptor& engine) {
  std::string name = std::to_string(engine.number(Name::engine_index));
  char separator = ':';
  for (const Descriptor& choice :
       config.children(Name::config_knob_choices, Kind::knob_choice, kMostKnobs)) {
    const int knob = choice.words(Name::knob_choice_type, Type::knob_type, 1).at(0);
    name += concat(separator, knob, '=', choice.number(Name::knob_choice_value));
    separator = ',';
  }
  return name;
}

bool wanted(const std::vector<Note>& notes, bool float32, const Limits& limits) {
  return std::none_of(notes.begin(), notes.end(), [&](Note note) {
    switch (note) {
      case Note::down_convert_inputs:
      case Note::reduced_precision_reduction:
        return true;
      case Note::tensor_core:
        return float32 && !limits.tf32;
      case Note::nondeterministic:
        return limits.deterministic;
      default:
        return false;
    }
  });
}

// Adds what a configuration comes to, unless its name was there already.
void consider(const Descriptor& config, bool float32, const Target& target, const Limits& limits,
              std::set<std::string>& names, Plans& all) {
  const std::vector<Descriptor> engines = config.children(Name::config_engine, Kind::engine, 1);
  std::vector<Note> notes;
  for (const int word : engines.at(0).words(Name::engine_notes, Type::numerical_note, kMostNotes))
    notes.push_back(static_cast<Note>(word));
  std::string name = name_of_config(config, engines[0]);
  if (!names.insert(name).second) return;  // both heuristics have it
  ++all.offered;
  if (!wanted(notes, float32, limits)) {
    ++all.unwanted;
    return;
  }
  try {
    Descriptor plan(target.library(), Kind::plan);
    target.tell_plan(plan);
    plan.set(Name::plan_config, config);
    plan.finalize("finish a plan");
    Plan made(std::move(plan), std::move(name), std::move(notes));
    if (made.workspace() > limits.workspace)
      ++all.too_large;
    else
      all.found.push_back(std::move(made));
  } catch (const Failure& failure) {
    if (!failure.unsupported()) throw;
    ++all.unfinished;
    all.refusal = failure.what();
  }
}

}  // namespace

Plan::Plan(Descriptor plan, std::string name, std::vector<Note> notes)
    : plan_(std::make_shared<const Descriptor>(std::move(plan))),
      name_(std::move(name)),
      notes_(std::move(notes)),
      workspace_(plan_->number(Name::plan_workspace)) {}

bool Plan::has(Note note) const {
  return std::find(notes_.begin(), notes_.end(), note) != notes_.end();
}

std::string Plans::summary() const {
  std::string text = concat(found.size(), " plans of ", offered, " offered");
  if (unwanted > 0) text += concat(", ", unwanted, " not wanted");
  if (too_large > 0) text += concat(", ", too_large, " with too large a workspace");
  if (unfinished > 0) text += concat(", ", unfinished, " refused later");
  return refusal.empty() ? text : text + "; " + refusal;
}

Plans plans(const Convolution& convolution, const Target& target, const Limits& limits) {
  Plans all;
  std::set<std::string> names;
  const bool float32 = convolution.x.dtype == DType::f32;
  const auto unless_refused = [&](auto&& body) {
    try {
      body();
    } catch (const Failure& failure) {
      if (!failure.unsupported()) throw;
      all.refusal = failure.what();
    }
  };
  unless_refused([&] {
    const Graph graph = graph_of(convolution, target);
    for (const int mode : {api::kHeuristicA, api::kHeuristicFallback})
      unless_refused([&] {
        for (const Descriptor& config : offers(graph, target, mode)) {
          if (static_cast<int>(all.found.size()) >= limits.most) return;
          consider(config, float32, target, limits, names, all);
        }
      });
  });
  return all;
}

Call::Call(const Plan& plan, const Convolution& convolution, const Pointers& pointers)
    : plan_(plan.shared()), pack_(plan_->library(), Kind::variant_pack) {
  std::vector<int64_t> ids;
  std::vector<void*> data;
  const auto add = [&](Role role, void* pointer) {
    ids.push_back(static_cast<int64_t>(role));
    data.push_back(pointer);
  };
  add(Role::x, pointers.x);
  add(Role::w, pointers.w);
  add(Role::y, pointers.y);
  if (convolution.bias) add(Role::bias, pointers.bias);
  pack_.set(Name::pack_ids, ids);
  pack_.set(Name::pack_pointers, Type::pointer, data.data(), static_cast<int64_t>(data.size()));
  pack_.set(Name::pack_workspace, Type::pointer, &pointers.workspace, 1);
  pack_.finalize("take the arguments of a convolution");
}

void Call::run(const Handle& handle) const {
  plan_->library().check(plan_->library().call().execute(handle.get(), plan_->get(), pack_.get()),
                         "run a convolution");
}

}  // namespace pcc::cudnn
