// Mirror: host memory that users' arrays look at, beside a block of a device's memory.
#pragma once

#include <memory>

#include "ops/device.h"

namespace pcc {

// Where the device's memory is the host's own the arrays look at the block itself, and nothing is
// ever copied.
class Mirror {
 public:
  Mirror() = default;
  Mirror(std::shared_ptr<Device> device, std::shared_ptr<Memory> block)
      : device_(std::move(device)), block_(std::move(block)) {}

  const std::shared_ptr<Memory>& block() const { return block_; }
  // For an array: holds what the device's block holds, and keeps to it for as long as anyone else
  // holds it, too.
  std::shared_ptr<Memory> view();
  // Before ops read the block: takes in what users may have written since. Returns whether they
  // may.
  bool take_in();
  // After ops wrote it.
  void give_back();

 private:
  bool looked_at() const { return (host_ ? host_ : block_).use_count() > 1; }

  std::shared_ptr<Device> device_;
  std::shared_ptr<Memory> block_, host_;
  bool written_ = false;  // users may have written to a view since it was last taken in
};

}  // namespace pcc
