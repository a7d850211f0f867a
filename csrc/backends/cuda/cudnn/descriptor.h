// One of cuDNN's descriptors: made, given attributes, finalised, asked.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "backends/cuda/cudnn/library.h"

namespace pcc::cudnn {

// Every call throws a Failure where cuDNN refuses it.
class Descriptor {
 public:
  Descriptor(const Library& library, api::Kind kind) : library_(&library) {
    check(call().create_descriptor(static_cast<int>(kind), &pointer_), "make a descriptor");
  }
  ~Descriptor() {
    if (pointer_) call().destroy_descriptor(pointer_);
  }
  Descriptor(Descriptor&& other) noexcept
      : library_(other.library_), pointer_(std::exchange(other.pointer_, nullptr)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  const Library& library() const { return *library_; }
  void* get() const { return pointer_; }

  // `values`: `count` of what C has for that type.
  void set(api::Name name, api::Type type, const void* values, int64_t count) {
    check(call().set_attribute(pointer_, static_cast<int>(name), static_cast<int>(type), count,
                               values),
          "set an attribute");
  }
  void set(api::Name name, const std::vector<int64_t>& numbers) {
    set(name, api::Type::int64, numbers.data(), static_cast<int64_t>(numbers.size()));
  }
  void set(api::Name name, int64_t number) { set(name, api::Type::int64, &number, 1); }
  void set(api::Name name, float number) { set(name, api::Type::float32, &number, 1); }
  void set(api::Name name, api::Type type, int word) { set(name, type, &word, 1); }
  void set(api::Name name, const Descriptor& other) {
    set(name, api::Type::descriptor, &other.pointer_, 1);
  }

  // action: for the error, "describe x".
  void finalize(const char* action) { check(call().finalize(pointer_), action); }

  // How many values an attribute has.
  int64_t count(api::Name name, api::Type type) const { return read(name, type, 0, nullptr); }
  int64_t number(api::Name name, api::Type type = api::Type::int64) const {
    int64_t value = 0;
    read(name, type, 1, &value);
    return value;
  }
  // The first numbers of an enumeration, `most` of them.
  std::vector<int> words(api::Name name, api::Type type, int64_t most) const {
    std::vector<int> values(static_cast<size_t>(most));
    values.resize(static_cast<size_t>(read(name, type, most, values.data())));
    return values;
  }
  // Descriptors of that kind that it holds, `most` of them.
  std::vector<Descriptor> children(api::Name name, api::Kind kind, int64_t most) const {
    std::vector<Descriptor> made;
    std::vector<void*> pointers;
    for (int64_t i = 0; i < most; ++i) {
      made.emplace_back(*library_, kind);
      pointers.push_back(made.back().pointer_);
    }
    const int64_t filled = read(name, api::Type::descriptor, most, pointers.data());
    while (static_cast<int64_t>(made.size()) > filled) made.pop_back();
    return made;
  }

 private:
  const api::Functions& call() const { return library_->call(); }
  void check(int status, const char* action) const { library_->check(status, action); }
  // Fills up to `wanted` values; how many there were.
  int64_t read(api::Name name, api::Type type, int64_t wanted, void* values) const {
    int64_t count = 0;
    check(call().get_attribute(pointer_, static_cast<int>(name), static_cast<int>(type), wanted,
                               &count, values),
          "tell an attribute");
    return wanted > 0 ? std::min(count, wanted) : count;
  }

  const Library* library_;
  void* pointer_ = nullptr;
};

}  // namespace pcc::cudnn
