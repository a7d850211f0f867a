#include "graph/course.h"

#include <algorithm>

namespace pcc {

void Course::add(const Call& call, Place place, int layer) {
  if (stretches_.empty() || stretches_.back().place != place) {
    stretches_.emplace_back();
    stretches_.back().place = place;
  }
  stretches_.back().unit.calls.push_back(call);
  stretches_.back().layers.push_back(layer);
}

void Course::add(const Course& other) {
  for (const Stretch& stretch : other.stretches_)
    for (size_t i = 0; i < stretch.layers.size(); ++i)
      add(stretch.unit.calls[i], stretch.place, stretch.layers[i]);
}

void Course::run(Device& device, const Contexts& contexts) {
  HostDevice host;
  for (Stretch& stretch : stretches_)
    if (stretch.place == Place::host)
      host.run(stretch.unit, contexts.host);
    else
      device.run(stretch.unit, contexts.device);
}

// In as few runs as can be.
void Course::run(Device& device, const Contexts& contexts, int low, int high) const {
  HostDevice host;
  for (const Stretch& stretch : stretches_) {
    const bool on_host = stretch.place == Place::host;
    const std::vector<int>& layers = stretch.layers;
    const auto wanted = [&](size_t call) {
      return layers[call] < 0 || (layers[call] >= low && layers[call] <= high);
    };
    for (size_t begin = 0, end; begin < layers.size(); begin = end) {
      end = begin + 1;
      if (!wanted(begin)) continue;
      while (end < layers.size() && wanted(end)) ++end;
      (on_host ? host : device)
          .run(stretch.unit.calls.data() + begin, end - begin,
               on_host ? contexts.host : contexts.device);
    }
  }
}

void Course::time(Device& device, const Contexts& contexts,
                  const std::function<void(const Call&, double)>& told) const {
  HostDevice host;
  for (const Stretch& stretch : stretches_) {
    const bool on_host = stretch.place == Place::host;
    const std::vector<Call>& calls = stretch.unit.calls;
    device.sync();
    const std::vector<double> seconds =
        (on_host ? host : static_cast<Device&>(device))
            .time(calls.data(), calls.size(), on_host ? contexts.host : contexts.device);
    for (size_t i = 0; i < calls.size(); ++i) told(calls[i], seconds[i]);
  }
}

void Course::each(const std::function<void(const Call&, Place)>& told) const {
  for (const Stretch& stretch : stretches_)
    for (const Call& call : stretch.unit.calls) told(call, stretch.place);
}

void Course::add_to(std::vector<Device::Part>& parts, const Context& context) {
  for (Stretch& stretch : stretches_)
    if (stretch.place != Place::host) parts.push_back({&stretch.unit, context});
}

bool Course::visits_host() const {
  return std::any_of(stretches_.begin(), stretches_.end(),
                     [](const Stretch& stretch) { return stretch.place == Place::host; });
}

}  // namespace pcc
