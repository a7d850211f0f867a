// Errors that tell a person what is wrong. Every failure in the core is a pcc::Error; nothing here
// ends the process.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace pcc {

// What kind of mistake it is; the bindings turn it into ConfigError, DataError or EngineError.
enum class ErrorKind { config, data, engine };

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

// Streams its arguments into one string: concat("layer '", name, "' has ", n, " bottoms").
template <typename... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream stream;
  (stream << ... << parts);
  return stream.str();
}

}  // namespace pcc

// PCC_CONFIG: the user's prototxt or settings are wrong. PCC_DATA: a file, record or weight is
// wrong. PCC_CHECK: the engine itself is (a message that reads "this is a bug" is fine there).
#define PCC_THROW(kind, ...) throw ::pcc::Error(::pcc::ErrorKind::kind, ::pcc::concat(__VA_ARGS__))
#define PCC_CONFIG(condition, ...)                    \
  do {                                                \
    if (!(condition)) PCC_THROW(config, __VA_ARGS__); \
  } while (false)
#define PCC_DATA(condition, ...)                    \
  do {                                              \
    if (!(condition)) PCC_THROW(data, __VA_ARGS__); \
  } while (false)
#define PCC_CHECK(condition, ...)                     \
  do {                                                \
    if (!(condition)) PCC_THROW(engine, __VA_ARGS__); \
  } while (false)
