// The larger steps of building a net, one file each; build.cpp runs them in order.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "graph/build.h"

namespace pcc {

// gradients.cpp: decides for every layer, bottom and parameter whether a gradient is computed, as
// Net::Init does. Parameters must be declared.
void resolve_gradients(Built& built, bool force_backward);

// lowering.cpp: lets a layer lower itself into built.program. Its bottom_values must be set;
// returns the values of its tops.
std::vector<int> lower_layer(Built& built, int layer, const NetOptions& options,
                             const std::map<std::string, Shape>& input_shapes);

}  // namespace pcc
