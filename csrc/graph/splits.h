#pragma once

#include <vector>

#include "core/spec.h"

namespace pcc {

// Inserts a Split layer behind every top with several readers, with Caffe's names
// (insert_splits.cpp, InsertSplits), so that logs and blob names agree. Loss tops that are read
// count themselves as a reader, where their loss_weight is written out. Throws a config error for a
// bottom that no earlier layer makes.
std::vector<LayerSpec> insert_splits(const std::vector<LayerSpec>& layers);

}  // namespace pcc
