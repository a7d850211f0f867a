// The Python module pycaffe_clr._core: layer specs in, numpy arrays out. One init function per
// subject; the Global Interpreter Lock is released around every pass.
#include "bindings/bindings.h"

#include "core/parallel.h"
#include "graph/layer.h"
#include "ops/op.h"

namespace {

// pcc::Error becomes the exception class of its kind, from pycaffe_clr.errors.
void translate(const pcc::Error& error) {
  const char* name = error.kind() == pcc::ErrorKind::config ? "ConfigError"
                     : error.kind() == pcc::ErrorKind::data ? "DataError"
                                                            : "EngineError";
  const py::object type = py::module_::import("pycaffe_clr.errors").attr(name);
  PyErr_SetString(type.ptr(), error.what());
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "Compiled core of pycaffe_clr";
  m.def("version", [] { return PCC_VERSION; }, "Version of the package this module was built for.");
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const pcc::Error& error) {
      translate(error);
    } catch (const std::bad_alloc&) {
      translate(pcc::Error(pcc::ErrorKind::engine, "out of memory. Use a smaller batch_size"));
    }
  });
  m.def("threads", &pcc::threads, "Number of threads that passes use.");
  m.def("set_threads", &pcc::set_threads, py::arg("count"),
        "Sets that number, for the whole process.");
  m.def("backends", &pcc::backend_names, "Names of the backends in this build.");
  m.def("default_backend", &pcc::default_backend, "The backend that device 'cpu' means.");
  m.def("layer_types", &pcc::layer_types,
        "Layer types that can be built, as a prototxt names them.");
  pcc::bind_specs(m);
  pcc::bind_feeds(m);
  pcc::bind_net(m);
  pcc::bind_solver(m);
}
