// The Python module pycaffe_clr._core: layer specs in, numpy arrays out. One init function per
// subject; the Global Interpreter Lock is released around every pass.
#include "bindings/bindings.h"

#include "core/parallel.h"
#include "graph/layer.h"
#include "ops/backends.h"

namespace {

// pcc::Error becomes the exception class of its kind, from pycaffe_clr.errors.
void translate(const pcc::Error& error) {
  const char* name = error.kind() == pcc::ErrorKind::config ? "ConfigError"
                     : error.kind() == pcc::ErrorKind::data ? "DataError"
                                                            : "EngineError";
  const py::object type = py::module_::import("pycaffe_clr.errors").attr(name);
  PyErr_SetString(type.ptr(), error.what());
}

// The loader's last resort is a function of Python's; a reference to it stays for good, as backends
// may be asked for to the end of the process.
void find_libraries_by(const py::typing::Callable<bool(py::str)>& find) {
  const auto* const kept = new py::function(find);
  pcc::find_libraries_by([kept](const std::string& problem) {
    const py::gil_scoped_acquire gil;
    return py::cast<bool>((*kept)(problem));
  });
}

// Backends may be loaded, which may want the lock.
using Unlocked = py::call_guard<py::gil_scoped_release>;

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
  m.def("backends", &pcc::backend_names, Unlocked(),
        "Names of the backends that work here, plainest first.");
  m.def("backend_of", &pcc::backend_of, Unlocked(), py::arg("device"), py::arg("described") = false,
        "The backend that a device means: its own name, 'kernels' (our own alone), or 'cpu', the "
        "fastest on the processor. described: the device itself need not be there.");
  m.def("devices", &pcc::device_names, Unlocked(), py::arg("backend"),
        "(names of a backend's devices, by number; why there are none).");
  m.def("backend_problems", &pcc::backend_problems,
        "One line for each backend that was asked for and cannot be loaded.");
  m.def("backend_remarks", &pcc::backend_remarks,
        "One line for each loaded backend that has something to say of the libraries it found.");
  m.def(
      "find_libraries_by", &find_libraries_by, py::arg("find"),
      "Names a function that loads what a backend's library lacks: it gets the loader's words, and "
      "returns whether it found something.");
  m.def("layer_types", &pcc::layer_types,
        "Layer types that can be built, as a prototxt names them.");
  pcc::bind_specs(m);
  pcc::bind_feeds(m);
  pcc::bind_host(m);
  pcc::bind_net(m);
  pcc::bind_solver(m);
}
