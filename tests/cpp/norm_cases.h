// BatchNorm and its fused chain as tests give it to backends.
#pragma once

#include <vector>

#include "op_harness.h"

namespace pcc {

inline OpCase norm(const NormActDesc& desc, const Shape& shape) {
  OpCase op;
  op.desc = desc;
  op.in = {shape};
  if (desc.add) op.in.push_back(shape);
  op.out = {shape};
  op.params = {{shape[1]}, {shape[1]}, {1}};
  op.want_dparam = {false, false, false};
  op.param_values = {random_values(shape[1], 31), random_values(shape[1], 32, 0.5, 2), {1.5}};
  if (desc.gain) op.params.push_back({shape[1]});
  if (desc.shift) op.params.push_back({shape[1]});
  op.want_dparam.resize(op.params.size(), true);
  return op;
}

// Every subset of what may follow the normalisation, with both kinds of statistics.
inline std::vector<NormActDesc> all_chains() {
  std::vector<NormActDesc> list;
  for (const bool global : {false, true})
    for (const int affine : {0, 1, 2})
      for (const bool add : {false, true})
        for (const bool relu : {false, true}) {
          NormActDesc desc;
          desc.use_global_stats = global;
          desc.gain = affine > 0;
          desc.shift = affine > 1;
          desc.add = add;
          desc.relu = relu;
          list.push_back(desc);
        }
  return list;
}

}  // namespace pcc
