// Layer specs and the schema of defaults, from the dictionaries that pycaffe_clr.prototxt.spec
// makes.
#include "bindings/bindings.h"

namespace pcc {

namespace {

Scalar scalar_from(const py::handle& value, const std::string& field) {
  if (py::isinstance<py::bool_>(value)) return value.cast<bool>();
  if (py::isinstance<py::int_>(value)) return value.cast<int64_t>();
  if (py::isinstance<py::float_>(value)) return value.cast<double>();
  if (py::isinstance<py::str>(value)) return value.cast<std::string>();
  if (py::isinstance<py::bytes>(value)) return std::string(value.cast<py::bytes>());
  PCC_THROW(config, "field ", field, ": no value of type ",
            py::str(py::type::of(value)).cast<std::string>(), " is expected here");
}

void fill_attributes(const py::dict& fields, Attributes& to) {
  for (const auto& [key, value] : fields) {
    const std::string field = key.cast<std::string>();
    const bool is_list = py::isinstance<py::list>(value) || py::isinstance<py::tuple>(value);
    const FieldInfo& info = Schema::global().field(to.message(), field);
    if (info.is_message) {
      if (!is_list) {
        fill_attributes(value.cast<py::dict>(), to.append_message(field));
        continue;
      }
      for (const py::handle& each : value)
        fill_attributes(each.cast<py::dict>(), to.append_message(field));
    } else if (is_list) {
      for (const py::handle& each : value) to.append(field, scalar_from(each, field));
    } else {
      to.set(field, scalar_from(value, field));
    }
  }
}

void set_schema(const typed::Schema& schema) {
  for (const auto& [message, fields] : schema["messages"].cast<py::dict>())
    for (const auto& [field, description] : fields.cast<py::dict>()) {
      const py::dict entry = description.cast<py::dict>();
      FieldInfo info;
      info.is_message = entry["kind"].cast<std::string>() == "message";
      info.repeated = entry["repeated"].cast<bool>();
      if (info.is_message) {
        info.message = entry["message"].cast<std::string>();
      } else if (!info.repeated && !entry["default"].is_none()) {
        info.value = scalar_from(entry["default"], field.cast<std::string>());
      }
      Schema::global().add(message.cast<std::string>(), field.cast<std::string>(), info);
    }
}

}  // namespace

std::vector<LayerSpec> specs_from(const py::list& layers) {
  std::vector<LayerSpec> specs;
  for (const py::handle& each : layers) {
    const py::dict layer = each.cast<py::dict>();
    LayerSpec spec;
    spec.type = layer["type"].cast<std::string>();
    spec.name = layer["name"].cast<std::string>();
    spec.bottoms = layer["bottoms"].cast<std::vector<std::string>>();
    spec.tops = layer["tops"].cast<std::vector<std::string>>();
    if (layer.contains("where") && !layer["where"].is_none())
      spec.where = layer["where"].cast<std::string>();
    try {
      fill_attributes(layer["attributes"].cast<py::dict>(), spec.attributes);
    } catch (const Error& error) {
      throw Error(error.kind(), spec.title() + ": " + error.what());
    }
    specs.push_back(std::move(spec));
  }
  return specs;
}

void bind_specs(py::module_& m) {
  m.def("set_schema", &set_schema, py::arg("schema"),
        "Hands over the defaults of every message (prototxt.spec.schema()). Once per process, "
        "before any Net.");
}

}  // namespace pcc
