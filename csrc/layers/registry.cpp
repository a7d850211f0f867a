// Joins the families of layer types with those added at run time, and makes layers by type name.
#include <algorithm>
#include <mutex>

#include "layers/families.h"

namespace pcc {
namespace {

const std::vector<LayerType>& own_types() {
  static const std::vector<LayerType> types = [] {
    std::vector<LayerType> all;
    for (auto* family :
         {convolution_layers, vision_layers, norm_layers, common_layers, activation_layers,
          shape_layers, select_layers, recurrent_layers, loss_layers, more_loss_layers,
          detection_layers, prior_box_layers, ssd_layers, data_layers}) {
      const std::vector<LayerType> more = family();
      all.insert(all.end(), more.begin(), more.end());
    }
    return all;
  }();
  return types;
}

// Types that programs added. Makers are called without the lock: they may wait for other threads.
struct Added {
  std::mutex mutex;
  std::vector<LayerType> types;
};
Added& added() {
  static Added all;
  return all;
}

std::vector<LayerType> all_types() {
  std::vector<LayerType> all = own_types();
  const std::lock_guard lock(added().mutex);
  all.insert(all.end(), added().types.begin(), added().types.end());
  return all;
}

auto named(const std::string& type) {
  return [&type](const LayerType& known) { return known.type == type; };
}

// Number of letters to insert, drop or change (Levenshtein), case ignored.
size_t distance(const std::string& a, const std::string& b) {
  const auto lower = [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = diagonal + (lower(a[i - 1]) == lower(b[j - 1]) ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, change});
    }
  }
  return row[b.size()];
}

std::string nearest(const std::string& type) {
  if (type.size() > 64) return "";
  std::string best;
  size_t least = 4;  // further away is no misspelling
  for (const LayerType& known : all_types()) {
    const size_t away = distance(type, known.type);
    if (away >= least) continue;
    least = away;
    best = known.type;
  }
  return best;
}

}  // namespace

std::vector<std::string> layer_types() {
  std::vector<std::string> names;
  for (const LayerType& known : all_types()) names.emplace_back(known.type);
  return names;
}

std::unique_ptr<Layer> make_layer(LayerSpec spec, LayerContext context) {
  const std::vector<LayerType> types = all_types();
  const auto found = std::find_if(types.begin(), types.end(), named(spec.type));
  if (found != types.end()) return found->make(std::move(spec), std::move(context));
  const std::string near = nearest(spec.type);
  std::string known;
  for (const std::string& name : layer_types()) known += (known.empty() ? "" : ", ") + name;
  PCC_THROW(config, spec.title(), ": type '", spec.type, "' is unknown",
            near.empty() ? "" : concat(" (did you mean '", near, "'?)"), "; known: ", known);
}

void register_layer(LayerType type) {
  PCC_CONFIG(!type.type.empty() && type.make, "a layer type needs a name and a maker");
  const bool own = std::any_of(own_types().begin(), own_types().end(), named(type.type));
  const std::lock_guard lock(added().mutex);
  std::vector<LayerType>& types = added().types;
  PCC_CONFIG(!own && std::none_of(types.begin(), types.end(), named(type.type)),
             "there is a layer type '", type.type, "' already");
  types.push_back(std::move(type));
}

bool unregister_layer(const std::string& type) {
  LayerType taken;  // goes when the lock has gone: a maker's end may wait for other threads, too
  const std::lock_guard lock(added().mutex);
  std::vector<LayerType>& types = added().types;
  const auto found = std::find_if(types.begin(), types.end(), named(type));
  if (found == types.end()) return false;
  taken = std::move(*found);
  types.erase(found);
  return true;
}

}  // namespace pcc
