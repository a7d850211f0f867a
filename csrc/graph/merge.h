// Which nets may take several batches of a test in one pass.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "graph/build.h"

namespace pcc {

// Whether a pass over several batches, one behind the other, gives the mean of what each of them
// gives by itself, but for rounding. So it is where nothing is drawn, every sample is worked on by
// itself, and what comes out are losses and accuracies, each the mean over so many predictions of
// every batch. So it is not with BatchNorm's statistics of the batch, ignored labels, functions of
// the user's, or what is no mean.
bool may_merge(const std::vector<LayerSpec>& specs, const std::map<std::string, LayerFeed>& feeds,
               const NetOptions& options);

}  // namespace pcc
