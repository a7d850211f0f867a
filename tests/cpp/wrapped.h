// Another backend's ops, each with something put around it.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "ops/backends.h"

namespace pcc {

// Does what the op inside does.
class WrappedOp : public Op {
 public:
  explicit WrappedOp(std::unique_ptr<Op> inner) : inner_(std::move(inner)) {}

  OpNeeds needs() const override { return inner_->needs(); }
  void bind(const OpBuffers& buffers) override {
    Op::bind(buffers);
    inner_->bind(buffers);
  }
  void prepare(const Context& context) override { inner_->prepare(context); }
  void forward(const Context& context) override { inner_->forward(context); }
  std::string implementation() const override { return inner_->implementation(); }

 protected:
  void differentiate(const Context& context) override { inner_->backward(context); }

  std::unique_ptr<Op> inner_;
};

// Makes an op from the backend inside, with whatever it likes around it.
using Wrap = std::function<std::unique_ptr<Op>(const Backend&, const OpDesc&, const OpSite&)>;

class WrappedBackend : public Backend {
 public:
  WrappedBackend(std::string name, const Backend& inner, Wrap wrap)
      : name_(std::move(name)), inner_(inner), wrap_(std::move(wrap)) {}

  std::string name() const override { return name_; }
  std::shared_ptr<Device> open(int index, Precision precision) const override {
    return inner_.open(index, precision);
  }
  bool computes(DType dtype) const override { return inner_.computes(dtype); }
  FormChoice forms(const OpDesc& desc, const OpSite& site) const override {
    return inner_.forms(desc, site);
  }
  bool gives_moments(const ConvDesc& desc, const OpSite& site) const override {
    return inner_.gives_moments(desc, site);
  }
  std::optional<int64_t> prologue_cost(const ConvDesc& desc, const OpSite& site) const override {
    return inner_.prologue_cost(desc, site);
  }
  std::unique_ptr<Op> make(const OpDesc& desc, const OpSite& site) const override {
    return wrap_(inner_, desc, site);
  }

 private:
  std::string name_;
  const Backend& inner_;
  Wrap wrap_;
};

// The name of a backend that wraps that one, registered when first asked for.
inline std::string wrapped(const std::string& prefix, const std::string& inner, const Wrap& wrap) {
  const std::string name = prefix + "_" + inner;
  static std::set<std::string> known;
  if (known.insert(name).second)
    register_backend(name,
                     [=] { return std::make_unique<WrappedBackend>(name, backend(inner), wrap); });
  return name;
}

}  // namespace pcc
