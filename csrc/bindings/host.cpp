// Layers written in Python: what the core calls of them, with the interpreter's lock held.
#include "layers/host.h"

#include <cstring>

#include "bindings/bindings.h"
#include "ops/rows.h"

namespace pcc {

namespace {

// A Python object that C++ may copy, and let go of, in any thread and without the lock. What is
// left when the interpreter has gone stays.
class Held {
 public:
  explicit Held(py::object object)
      : object_(new py::object(std::move(object)), [](py::object* held) {
          if (!Py_IsInitialized()) return;
          py::gil_scoped_acquire gil;
          delete held;
        }) {}
  const py::object& operator*() const { return *object_; }

 private:
  std::shared_ptr<py::object> object_;
};

// Between an array of the layer's own and the core's memory. Copied, not viewed: arrays live as
// long as Python likes.
void exchange(const py::handle& blob, const char* what, const Tensor& tensor, bool in) {
  py::array array = blob.attr(what);
  const bool fits = array.nbytes() == tensor.spec.bytes() &&
                    array.itemsize() == size_of(tensor.spec.dtype) &&
                    (array.flags() & py::array::c_style) != 0;
  PCC_CHECK(fits, "a Python layer's ", what, " is not the array it was given");
  const auto bytes = static_cast<size_t>(tensor.spec.bytes());
  if (in)
    std::memcpy(array.mutable_data(), tensor.data, bytes);
  else
    std::memcpy(tensor.data, array.data(), bytes);
}

void exchange_all(const py::object& blobs, const char* what, const std::vector<Tensor>& tensors,
                  bool in) {
  size_t i = 0;
  for (const py::handle& blob : blobs) {
    const Tensor& tensor = tensors.at(i++);
    if (tensor) exchange(blob, what, tensor, in);
  }
}

class PythonFunction : public HostLayerFunction {
 public:
  PythonFunction(py::object host, std::string name)
      : host_(std::move(host)), name_(std::move(name)) {}

  std::vector<Shape> reshape(const std::vector<Shape>& bottoms) override {
    py::gil_scoped_acquire gil;
    std::vector<std::vector<int64_t>> dims;
    for (const Shape& bottom : bottoms) dims.push_back(bottom.dims());
    std::vector<Shape> tops;
    const py::object made = call("reshape", dims);
    for (const auto& top : made.cast<std::vector<std::vector<int64_t>>>()) tops.emplace_back(top);
    return tops;
  }

  std::vector<ParamDecl> params() const override {
    py::gil_scoped_acquire gil;
    std::vector<ParamDecl> decls;
    for (const py::handle& each : call("params")) {
      const auto values = py::array_t<double, py::array::c_style>::ensure(each);
      ParamDecl decl;
      for (py::ssize_t axis = 0; axis < values.ndim(); ++axis)
        decl.shape.push_back(values.shape(axis));
      decl.filler.values =
          std::make_shared<const std::vector<double>>(values.data(), values.data() + values.size());
      decls.push_back(std::move(decl));
    }
    return decls;
  }

  py::object layer() const { return part("layer"); }

  void hold(bool held) override {
    py::gil_scoped_acquire gil;
    call("hold", held);
  }

  void forward(const HostTensors& tensors) override {
    py::gil_scoped_acquire gil;
    if (!part("held").cast<bool>()) {
      exchange_all(part("bottoms"), "data", tensors.in, true);
      exchange_all(part("blobs"), "data", tensors.params, true);
      if (!call("forward").cast<bool>()) throw RowsChanged{name_, 0};
    }
    exchange_all(part("tops"), "data", tensors.out, false);
    exchange_all(part("blobs"), "data", tensors.params, false);
  }

  void backward(const HostTensors& tensors) override {
    py::gil_scoped_acquire gil;
    exchange_all(part("bottoms"), "data", tensors.in, true);
    exchange_all(part("tops"), "data", tensors.out, true);
    exchange_all(part("blobs"), "data", tensors.params, true);
    exchange_all(part("blobs"), "diff", tensors.dparams, true);
    size_t top = 0;
    for (const py::handle& blob : part("tops")) {
      const Tensor& diff = tensors.dout.at(top++);
      if (diff)
        exchange(blob, "diff", diff, true);
      else
        py::array(blob.attr("diff")).attr("fill")(0);
    }
    py::list propagate_down;
    for (const Tensor& din : tensors.din) propagate_down.append(static_cast<bool>(din));
    call("backward", propagate_down);
    exchange_all(part("bottoms"), "diff", tensors.din, false);
    exchange_all(part("blobs"), "diff", tensors.dparams, false);
  }

 private:
  py::object part(const char* name) const { return (*host_).attr(name); }
  template <typename... Arguments>
  py::object call(const char* name, Arguments&&... arguments) const {
    return (*host_).attr(name)(std::forward<Arguments>(arguments)...);
  }

  Held host_;
  std::string name_;
};

typed::HostLayerSpec spec_for_python(const LayerSpec& spec, const LayerContext& context) {
  const Attributes& params = spec.attributes.sub("python_param");
  params.ignore("share_in_parallel");
  py::dict row;
  row["title"] = spec.title();
  row["bottoms"] = spec.bottoms;
  row["tops"] = spec.tops;
  row["phase"] = context.train ? 0 : 1;
  row["dtype"] = name_of(context.dtype);
  row["module"] = params.get_string("module");
  row["layer"] = params.get_string("layer");
  row["param_str"] = spec.type == "HDF5Output"
                         ? spec.attributes.sub("hdf5_output_param").get_string("file_name")
                         : params.get_string("param_str");
  return row;
}

// find() gives what makes the layer, called with the lock held.
template <typename Find>
LayerMaker maker_of(Find find) {
  return [find](LayerSpec spec, LayerContext context) {
    std::shared_ptr<HostLayerFunction> function;
    {
      py::gil_scoped_acquire gil;
      function =
          std::make_shared<PythonFunction>(find()(spec_for_python(spec, context)), spec.name);
    }
    return make_host_layer(std::move(spec), std::move(context), std::move(function));
  };
}

void register_python_layer(const std::string& type, const typed::HostLayerMaker& maker) {
  register_layer({type, maker_of([held = Held(maker)] { return *held; })});
}

}  // namespace

py::object python_layer_of(const Layer& layer) {
  const auto* function = dynamic_cast<const PythonFunction*>(function_of(layer));
  return function ? function->layer() : py::none();
}

void bind_host(py::module_& m) {
  for (const char* type : {"Python", "HDF5Output"})
    register_layer({type, maker_of([type] {
                      const bool own = type == std::string("HDF5Output");
                      const char* const module =
                          own ? "pycaffe_clr.hdf5_output" : "pycaffe_clr.python_layer";
                      return py::module_::import(module).attr("make");
                    })});
  m.def("register_layer", &register_python_layer, py::arg("type"), py::arg("maker"),
        "Adds a type of layer that maker(spec) makes. ConfigError if there is one of that name.");
  m.def("unregister_layer", &unregister_layer, py::arg("type"),
        "Takes a registered type away; nets that have such layers keep them. False if there is "
        "none.");
}

}  // namespace pcc
