// Layers from prototxt text, for C++ tests: a small reader of text format, without protobuf.
#pragma once

#include <string>

#include "core/spec.h"

namespace pcc {

// Fills Schema::global() from the package's caffe.proto, once.
void load_schema();

// A layer from the inside of a `layer { ... }` block. Loads the schema. Throws std::runtime_error
// on a field that it lacks.
LayerSpec parse_layer(const std::string& text);

}  // namespace pcc
