// The Python module pycaffe_clr._core.

#include <pybind11/pybind11.h>

PYBIND11_MODULE(_core, m) {
  m.doc() = "Compiled core of pycaffe_clr";
  m.def("version", [] { return PCC_VERSION; }, "Version of the package this module was built for.");
}
