#include "ops/rules.h"

#include <algorithm>

#include "core/check.h"

namespace pcc {

const std::vector<UpdateRule>& update_rules() {
  using Rule = UpdateDesc::Rule;
  // Rule, type, histories, takes momentum, takes cyclical momentum.
  static const std::vector<UpdateRule> rules = {{Rule::sgd, "SGD", 1, true, true},
                                                {Rule::nesterov, "Nesterov", 1, true, true},
                                                {Rule::adagrad, "AdaGrad", 1, false, false},
                                                {Rule::rmsprop, "RMSProp", 1, false, false},
                                                {Rule::adadelta, "AdaDelta", 2, true, false},
                                                {Rule::adam, "Adam", 2, true, false}};
  return rules;
}

namespace {

template <typename Test>
const UpdateRule* find(Test test) {
  const std::vector<UpdateRule>& rules = update_rules();
  const auto found = std::find_if(rules.begin(), rules.end(), test);
  return found == rules.end() ? nullptr : &*found;
}

}  // namespace

const UpdateRule& update_rule(UpdateDesc::Rule rule) {
  const UpdateRule* found = find([&](const UpdateRule& each) { return each.rule == rule; });
  PCC_CHECK(found, "update rule ", static_cast<int>(rule), " is not in the list of rules");
  return *found;
}

const UpdateRule& update_rule(const std::string& type) {
  if (const UpdateRule* found = find([&](const UpdateRule& each) { return each.type == type; }))
    return *found;
  std::string known;
  for (const UpdateRule& each : update_rules()) known += (known.empty() ? "" : ", ") + each.type;
  PCC_THROW(config, "solver type \"", type, "\" is not implemented; known: ", known);
}

int UpdateDesc::histories() const { return update_rule(rule).histories; }

std::vector<UpdateSegment> joined(const std::vector<UpdateSegment>& segments) {
  std::vector<UpdateSegment> joined;
  for (const UpdateSegment& next : segments) {
    UpdateSegment* last = joined.empty() ? nullptr : &joined.back();
    if (last && last->offset + last->count == next.offset && last->lr_mult == next.lr_mult &&
        last->decay_mult == next.decay_mult)
      last->count += next.count;
    else
      joined.push_back(next);
  }
  return joined;
}

}  // namespace pcc
