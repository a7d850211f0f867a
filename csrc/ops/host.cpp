#include "ops/host.h"

#include <cstring>

#include "core/check.h"

namespace pcc {

namespace {

void copy(const Tensor& from, const Tensor& to) {
  std::memcpy(to.data, from.data, static_cast<size_t>(to.spec.bytes()));
}

template <typename T>
auto& at(T& list, int index) {
  return list[static_cast<size_t>(index)];
}

class HostOp : public Op {
 public:
  HostOp(const HostOpDesc& desc, const OpSite& site) : desc_(desc), site_(site) {
    for (const std::vector<TensorSpec>* specs : {&site.in, &site.out})
      for (const TensorSpec& spec : *specs)
        PCC_CHECK(spec.layout == Layout::plain, "'", site.name,
                  "': host functions take plain layouts only");
  }

  OpNeeds needs() const override {
    OpNeeds needs;
    if (!site_.backward()) return needs;
    needs.in.assign(site_.in.size(), true);
    for (const auto& [out, in] : desc_.over) needs.in[static_cast<size_t>(in)] = false;
    needs.out.assign(site_.out.size(), true);
    return needs;
  }

  void bind(const OpBuffers& buffers) override {
    Op::bind(buffers);
    tensors_ = {buffers.in, buffers.out, buffers.params, {}, buffers.din, buffers.dparams};
    for (const std::vector<Tensor>& parts : buffers.dout)
      tensors_.dout.push_back(parts.empty() ? Tensor{} : parts[0]);
    for (const auto& [out, in] : desc_.over) {
      at(tensors_.in, in) = at(tensors_.out, out);
      if (at(tensors_.din, in)) at(tensors_.dout, out) = at(tensors_.din, in);
    }
  }

  void forward(const Context&) override {
    for (const auto& [out, in] : desc_.over) copy(at(buffers_.in, in), at(buffers_.out, out));
    desc_.function->forward(tensors_);
  }

  void differentiate(const Context&) override {
    for (const auto& [out, in] : desc_.over) {
      const Tensor& to = at(buffers_.din, in);
      if (!to) continue;
      const std::vector<Tensor>& parts = at(buffers_.dout, out);
      if (parts.empty())  // another output's got one
        std::memset(to.data, 0, static_cast<size_t>(to.spec.bytes()));
      else
        copy(parts[0], to);
    }
    desc_.function->backward(tensors_);
  }

  std::string implementation() const override { return "host function"; }

 private:
  HostOpDesc desc_;
  OpSite site_;
  HostTensors tensors_;
};

}  // namespace

bool belongs_on_host(const OpDesc& desc) {
  return std::holds_alternative<HostOpDesc>(desc) || std::holds_alternative<FilterDesc>(desc) ||
         std::holds_alternative<ProposalDesc>(desc) ||
         std::holds_alternative<DetectionDesc>(desc) ||
         std::holds_alternative<MultiBoxDesc>(desc) || std::holds_alternative<EvaluationDesc>(desc);
}

std::unique_ptr<Op> make_host_op(const HostOpDesc& desc, const OpSite& site) {
  return std::make_unique<HostOp>(desc, site);
}

}  // namespace pcc
