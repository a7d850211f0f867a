// Course: the calls of a pass in order, in stretches that one processor makes by itself: the
// device, or the host in its stead.
#pragma once

#include <functional>
#include <vector>

#include "core/tensor.h"
#include "ops/device.h"

namespace pcc {

// What a call is given where it runs.
struct Contexts {
  Context device, host;
};

class Course {
 public:
  // layer: the one it belongs to; -1: it runs whatever part of the net is asked for.
  void add(const Call& call, Place place, int layer);
  // All calls of another course, behind these.
  void add(const Course& other);
  void run(Device& device, const Contexts& contexts);
  // Those of the layers [low, high].
  void run(Device& device, const Contexts& contexts, int low, int high) const;
  void each(const std::function<void(const Call&, Place)>& told) const;
  // Makes all of them: told(call, seconds).
  void time(Device& device, const Contexts& contexts,
            const std::function<void(const Call&, double)>& told) const;
  // What the device makes of it, to be run with more.
  void add_to(std::vector<Device::Part>& parts, const Context& context);
  // Whether the host has a part in it.
  bool visits_host() const;

 private:
  struct Stretch {
    Place place = Place::device;
    Unit unit;
    std::vector<int> layers;  // per call
  };
  std::vector<Stretch> stretches_;
};

}  // namespace pcc
