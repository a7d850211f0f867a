// Outputs whose number of rows only their op's inputs tell.
#pragma once

#include <cstdint>
#include <string>

namespace pcc {

// Thrown by an op in forward, before it writes anything, where its outputs must have another number
// of rows (axis 0) than they were given; by a host function, where they have other shapes. The net
// is then laid out anew, and the pass begins again.
struct RowsChanged {
  std::string name;  // OpSite::name
  int64_t rows;
};

}  // namespace pcc
