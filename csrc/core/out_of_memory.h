// What is thrown where a processor has less memory than is asked for, so that whoever knows what
// the memory was for can say so.
#pragma once

#include <cstdint>
#include <string>

#include "core/check.h"

namespace pcc {

class OutOfMemory : public Error {
 public:
  explicit OutOfMemory(const std::string& message) : Error(ErrorKind::engine, message) {}
};

// "731 MiB", "12 KiB", "5 bytes".
inline std::string size_text(int64_t bytes) {
  if (bytes < int64_t{4} << 10) return concat(bytes, " bytes");
  if (bytes < int64_t{4} << 20) return concat(bytes >> 10, " KiB");
  return concat(bytes >> 20, " MiB");
}

}  // namespace pcc
