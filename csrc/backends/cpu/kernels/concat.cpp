// Concat and Slice: copies of rows.
#include "backends/cpu/kernels/kernel_op.h"
#include "ops/cut.h"

namespace pcc::cpu {

namespace {

// body(row number), spread over threads.
template <typename Body>
void for_rows(const Cut& cut, Body&& body) {
  parallel(cut.outer, std::max<int64_t>(1, kElementGrain / cut.row),
           [&](int64_t begin, int64_t end, int) {
             for (int64_t o = begin; o < end; ++o) body(o);
           });
}

class ConcatOp : public KernelOp {
 public:
  ConcatOp(const ConcatDesc& desc, const OpSite& site)
      : KernelOp(site), cut_(site.out[0], site.in, desc.axis) {
    if (!trains_) return;
    needs_.sums_parts = true;
    needs_.max_parts = kMaxParts;
  }

  void forward(const Context&) override {
    if (cut_.outer == 1) return forward_whole();
    for_rows(cut_, [this](int64_t o) {
      for (size_t k = 0; k < site_.in.size(); ++k)
        std::memcpy(out() + o * cut_.row + cut_.first[k], in(k) + o * cut_.size[k],
                    static_cast<size_t>(cut_.size[k]) * sizeof(float));
    });
  }

 protected:
  void differentiate(const Context&) override {
    for_rows(cut_, [this](int64_t o) {
      for (size_t k = 0; k < site_.in.size(); ++k) {
        if (!din(k)) continue;
        const float* dy[kMaxParts];
        const int parts = dout_parts(0, o * cut_.row + cut_.first[k], dy);
        float* dx = din(k) + o * cut_.size[k];
        if (parts == 1)
          std::memcpy(dx, dy[0], static_cast<size_t>(cut_.size[k]) * sizeof(float));
        else
          loops_.element.sum(cut_.size[k], dy, nullptr, parts, dx);
      }
    });
  }

 private:
  // Along the first axis there is one row: the threads share each part instead.
  void forward_whole() {
    for (size_t k = 0; k < site_.in.size(); ++k)
      for_elements(cut_.size[k], [=, this](int64_t first, int64_t count) {
        std::memcpy(out() + cut_.first[k] + first, in(k) + first,
                    static_cast<size_t>(count) * sizeof(float));
      });
  }

  Cut cut_;
};

class SliceOp : public KernelOp {
 public:
  SliceOp(const SliceDesc& desc, const OpSite& site)
      : KernelOp(site), cut_(site.in[0], site.out, desc.axis) {
    if (!trains_) return;
    needs_.sums_parts = true;
    needs_.max_parts = kMaxParts;
  }

  void forward(const Context&) override {
    for_rows(cut_, [this](int64_t o) {
      for (size_t k = 0; k < site_.out.size(); ++k)
        std::memcpy(out(k) + o * cut_.size[k], in(0) + o * cut_.row + cut_.first[k],
                    static_cast<size_t>(cut_.size[k]) * sizeof(float));
    });
  }

 protected:
  void differentiate(const Context&) override {
    if (!din(0)) return;
    for_rows(cut_, [this](int64_t o) {
      for (size_t k = 0; k < site_.out.size(); ++k) {
        const float* dy[kMaxParts];
        const int parts = dout_parts(k, o * cut_.size[k], dy);
        float* dx = din(0) + o * cut_.row + cut_.first[k];
        if (parts == 0)
          std::memset(dx, 0, static_cast<size_t>(cut_.size[k]) * sizeof(float));
        else
          loops_.element.sum(cut_.size[k], dy, nullptr, parts, dx);
      }
    });
  }

 private:
  Cut cut_;
};

bool cuts_in(const OpSite& site, int axis, Layout layout) {
  for (const std::vector<TensorSpec>* list : {&site.in, &site.out})
    for (const TensorSpec& spec : *list)
      if (spec.layout != layout) return false;
  return layout == Layout::plain || axis <= 1;
}

}  // namespace

std::unique_ptr<Op> make_concat(const ConcatDesc& desc, const OpSite& site) {
  if (!cuts_in(site, desc.axis, site.out[0].layout)) return nullptr;
  return std::make_unique<ConcatOp>(desc, site);
}

std::unique_ptr<Op> make_slice(const SliceDesc& desc, const OpSite& site) {
  if (!cuts_in(site, desc.axis, site.in[0].layout)) return nullptr;
  return std::make_unique<SliceOp>(desc, site);
}

}  // namespace pcc::cpu
