// A layer as the prototxt says it, without protobuf: a tree of the fields that were set, and a
// schema with the defaults of the others. `has` = was set; the getters = set value or default:
// proto2's own rule.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "core/check.h"

namespace pcc {

using Scalar =
    std::variant<bool, int64_t, double, std::string>;  // enums travel by name, as strings

struct FieldInfo {
  bool is_message = false;
  bool repeated = false;
  std::string message;        // type name, for message fields
  Scalar value = int64_t{0};  // default, for scalar fields
};

// Defaults of every message that a layer can hold. Filled once per process, by the bindings or a
// test.
class Schema {
 public:
  static Schema& global();
  void add(const std::string& message, const std::string& field, FieldInfo info);
  // Throws an engine error for a name that the schema lacks: the layer's source misspells it.
  const FieldInfo& field(const std::string& message, const std::string& field) const;
  bool empty() const { return messages_.empty(); }

 private:
  std::map<std::string, std::map<std::string, FieldInfo>> messages_;
};

class Attributes {
 public:
  explicit Attributes(std::string message = "LayerParameter") : message_(std::move(message)) {}

  // Building the tree.
  void set(const std::string& field, Scalar value) { scalars_[field] = {std::move(value)}; }
  void append(const std::string& field, Scalar value) {
    scalars_[field].push_back(std::move(value));
  }
  Attributes& append_message(const std::string& field);
  void clear(const std::string& field) { scalars_.erase(field); }

  // Reading it. Every read marks the field, so that `unread` can name what nobody looked at.
  const std::string& message() const { return message_; }
  bool has(const std::string& field) const;
  // Marks it as read: it says nothing about what the layer computes here.
  void ignore(const std::string& field) const { mark(field); }
  size_t size(const std::string& field) const;  // number of values set
  int64_t get_int(const std::string& field) const;
  double get_double(const std::string& field) const;
  bool get_bool(const std::string& field) const;
  std::string get_string(const std::string& field) const;  // strings and enum names
  std::vector<int64_t> ints(const std::string& field) const;
  std::vector<bool> bools(const std::string& field) const;
  std::vector<double> doubles(const std::string& field) const;
  std::vector<std::string> strings(const std::string& field) const;
  // The sub-message; where it was not set, an empty one, whose getters give the defaults.
  const Attributes& sub(const std::string& field) const;
  const std::vector<std::unique_ptr<Attributes>>& subs(const std::string& field) const;
  // Dotted paths of set fields that were never read.
  std::vector<std::string> unread() const;

  Attributes(Attributes&&) = default;
  Attributes& operator=(Attributes&&) = default;
  Attributes(const Attributes& other);
  Attributes& operator=(const Attributes& other);

 private:
  const Scalar& scalar(const std::string& field) const;
  void mark(const std::string& field) const { read_[field] = true; }

  std::string message_;
  std::map<std::string, std::vector<Scalar>> scalars_;
  std::map<std::string, std::vector<std::unique_ptr<Attributes>>> messages_;
  mutable std::map<std::string, std::unique_ptr<Attributes>>
      empty_;  // stand-ins for messages that were not set
  mutable std::map<std::string, bool> read_;
};

struct LayerSpec {
  std::string type, name;
  std::vector<std::string> bottoms, tops;
  Attributes attributes;  // set fields of the LayerParameter
  std::string where;      // "net.prototxt:12", for errors; may be empty

  // "layer 'conv1' (Convolution, net.prototxt:12)": how an error begins.
  std::string title() const;
};

}  // namespace pcc
