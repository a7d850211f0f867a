// What signatures say beyond dict, list and ndarray: each name here is declared in
// pycaffe_clr/core_types.py, with its keys or the type of its elements. csrc/bindings/make_stub.py
// writes the signatures into pycaffe_clr/_core.pyi.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/typing.h>

#include <utility>

namespace py = pybind11;

namespace pcc::typed {

// Taken as it is; what it has to have is looked at where it is used.
struct Any : py::object {
  using py::object::object;
  Any() = default;
  Any(py::object value) : py::object(std::move(value)) {}
  static bool check_(py::handle) { return true; }
};

}  // namespace pcc::typed

#define PCC_TYPED(Name, Base)                                                 \
  namespace pcc::typed {                                                      \
  struct Name : Base {                                                        \
    using Parent = Base;                                                      \
    using Parent::Parent;                                                     \
    Name() = default;                                                         \
    Name(Base value) : Base(std::move(value)) {}                              \
  };                                                                          \
  }                                                                           \
  template <>                                                                 \
  struct pybind11::detail::handle_type_name<pcc::typed::Name> {               \
    static constexpr auto name = const_name("pycaffe_clr.core_types." #Name); \
  };

// Taken.
PCC_TYPED(LayerSpec, py::dict)
PCC_TYPED(Schema, py::dict)
PCC_TYPED(NetSettings, py::dict)
PCC_TYPED(SolverSettings, py::dict)
PCC_TYPED(LayerFeed, py::tuple)
PCC_TYPED(Shapes, py::dict)
PCC_TYPED(Records, py::array)
PCC_TYPED(Labels, Any)
PCC_TYPED(Fields, py::dict)
PCC_TYPED(RecordSource, Any)
PCC_TYPED(HostLayerMaker, Any)
// Given.
PCC_TYPED(HostLayerSpec, py::dict)
PCC_TYPED(LayerRow, py::dict)
PCC_TYPED(ParamRow, py::dict)
PCC_TYPED(PlanRow, py::dict)
PCC_TYPED(Values, py::array)

#undef PCC_TYPED
