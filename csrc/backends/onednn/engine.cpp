#include "backends/onednn/engine.h"

namespace pcc::onednn {

// Neither is ever destroyed: ops may outlive every static object of this file.
const dnnl::engine& engine() {
  static const dnnl::engine* const instance = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *instance;
}

const dnnl::stream& stream() {
  static const dnnl::stream* const instance = new dnnl::stream(engine());
  return *instance;
}

dnnl::memory::desc describe_plain(const std::vector<int64_t>& dims) {
  std::vector<int64_t> sizes = dims.empty() ? std::vector<int64_t>{1} : dims;
  std::vector<int64_t> strides(sizes.size(), 1);
  for (size_t i = sizes.size() - 1; i > 0; --i) strides[i - 1] = strides[i] * sizes[i];
  return {sizes, dnnl::memory::data_type::f32, strides};
}

dnnl::memory::desc describe(const Shape& shape, Layout layout) {
  using Tag = dnnl::memory::format_tag;
  if (layout == Layout::plain) return describe_plain(shape.dims());
  PCC_CHECK(shape.axes() == 4 && shape[1] % block_of(layout) == 0, "a value of shape ", shape,
            " cannot lie in layout ", name_of(layout), "; this is a bug");
  const Tag tag = layout == Layout::nhwc ? Tag::nhwc
                  : layout == Layout::c8 ? Tag::nChw8c
                                         : Tag::nChw16c;
  return {shape.dims(), dnnl::memory::data_type::f32, tag};
}

namespace {

const char* text_of(dnnl_status_t status) {
  switch (status) {
    case dnnl_success:
      return "success";
    case dnnl_out_of_memory:
      return "out of memory";
    case dnnl_invalid_arguments:
      return "invalid arguments";
    case dnnl_unimplemented:
      return "not implemented";
    default:
      return "runtime error";
  }
}

}  // namespace

void fail(const std::string& op, const char* action, dnnl_status_t status) {
  PCC_THROW(engine, "op '", op, "': oneDNN could not ", action, ": ", text_of(status), " (status ",
            static_cast<int>(status), "); try a smaller batch or --backend reference");
}

dnnl::primitive_attr user_scratchpad() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

void Call::argument(int kind, const dnnl::memory::desc& desc, void* data) {
  if (desc.get_size() == 0) return;
  guarded(op_, "describe an argument", [&] {
    memories_.emplace_back(desc, engine(), data);
    arguments_.push_back({kind, memories_.back().get()});
  });
}

void Call::run() const {
  const dnnl_status_t status = dnnl_primitive_execute(
      primitive_.get(), stream().get(), static_cast<int>(arguments_.size()), arguments_.data());
  if (status != dnnl_success) fail(op_, "run", status);
}

Reorder::Reorder(const std::string& op, const dnnl::memory::desc& from,
                 const dnnl::memory::desc& to, bool add)
    : op_(op), from_(from), to_(to) {
  guarded(op, "prepare a change of layout", [&] {
    dnnl::primitive_attr attributes = user_scratchpad();
    if (add) {
      dnnl::post_ops operations;
      operations.append_sum(1.0f);
      attributes.set_post_ops(operations);
    }
    const dnnl::reorder::primitive_desc chosen(engine(), from, engine(), to, attributes);
    reorder_ = dnnl::reorder(chosen);
    scratchpad_ = chosen.scratchpad_desc();
    implementation_ = chosen.impl_info_str();
  });
}

Call Reorder::call(void* from, void* to, void* scratch) const {
  Call call(op_, reorder_);
  call.argument(DNNL_ARG_FROM, from_, from);
  call.argument(DNNL_ARG_TO, to_, to);
  call.argument(DNNL_ARG_SCRATCHPAD, scratchpad_, scratch);
  return call;
}

}  // namespace pcc::onednn
