// TransferOp: a value's way between the device's memory and the host's, and its gradient's way
// back.
#pragma once

#include <string>

#include "ops/op.h"

namespace pcc {

// Runs on the host, between the device's calls.
class TransferOp : public Op {
 public:
  TransferOp(Device& device, bool to_host) : device_(device), to_host_(to_host) {}

  void forward(const Context&) override { move(buffers_.in[0], buffers_.out[0], to_host_); }
  std::string implementation() const override { return "copy"; }

 protected:
  void differentiate(const Context&) override {
    if (buffers_.din[0]) move(buffers_.dout[0][0], buffers_.din[0], !to_host_);
  }

 private:
  void move(const Tensor& from, const Tensor& to, bool down) {
    if (down)
      device_.download(to.data, from.data, from.spec.bytes());
    else
      device_.upload(to.data, from.data, from.spec.bytes());
  }

  Device& device_;
  bool to_host_;
};

}  // namespace pcc
