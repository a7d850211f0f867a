#include "graph/mirror.h"

namespace pcc {

std::shared_ptr<Memory> Mirror::view() {
  if (device_->host_visible()) {
    written_ = true;
    return block_;
  }
  if (!host_) host_ = std::make_shared<HostMemory>(block_->bytes());
  // What others look at now is up to date, but for what they wrote themselves.
  if (!looked_at() && !written_) device_->download(host_->data(), block_->data(), block_->bytes());
  written_ = true;
  return host_;
}

bool Mirror::take_in() {
  if (!written_) return false;
  if (host_) device_->upload(block_->data(), host_->data(), block_->bytes());
  written_ = looked_at();
  return true;
}

void Mirror::give_back() {
  if (host_ && looked_at()) device_->download(host_->data(), block_->data(), block_->bytes());
}

}  // namespace pcc
