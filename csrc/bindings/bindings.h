// What the files of the Python module share.
#pragma once

#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bindings/typed.h"
#include "core/memory.h"
#include "core/spec.h"
#include "core/tensor.h"
#include "graph/layer.h"

namespace pcc {

void bind_specs(py::module_& m);
void bind_feeds(py::module_& m);
void bind_host(py::module_& m);
void bind_net(py::module_& m);
void bind_solver(py::module_& m);

// From prototxt.spec's dictionaries.
std::vector<LayerSpec> specs_from(const py::list& layers);
// The Python object that computes a layer; none for layers of the library.
py::object python_layer_of(const Layer& layer);
// {layer name: (feed or None, mean array or None)}
std::map<std::string, LayerFeed> feeds_from(const py::dict& feeds);

// A writable array over `tensor`'s memory; `owner` lives as long as the array.
typed::Values view(const Tensor& tensor, py::handle owner);
// An owner that holds memory.
py::capsule keep_alive(const std::shared_ptr<Memory>& memory);

template <typename T>
T take(const py::dict& settings, const char* name, T otherwise) {
  return settings.contains(name) ? settings[name].cast<T>() : otherwise;
}

}  // namespace pcc
