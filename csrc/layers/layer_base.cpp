#include "layers/layer_base.h"

namespace pcc {

namespace {

FillerDesc::Fan fan_of(const std::string& variance_norm) {
  if (variance_norm == "AVERAGE") return FillerDesc::Fan::average;
  return variance_norm == "FAN_OUT" ? FillerDesc::Fan::out : FillerDesc::Fan::in;
}

}  // namespace

FillerDesc LayerBase::read_filler(const Attributes& params, const std::string& field,
                                  bool used) const {
  FillerDesc filler;
  filler.value = params.get_double("value");
  filler.min = params.get_double("min");
  filler.max = params.get_double("max");
  filler.mean = params.get_double("mean");
  filler.std = params.get_double("std");
  filler.sparse = params.get_int("sparse");
  filler.variance_norm = fan_of(params.get_string("variance_norm"));
  const std::string type = params.get_string("type");
  std::string known;
  for (const FillerDesc::Type each : kFillerTypes) {
    if (type == name_of(each)) {
      filler.type = each;
      return filler;
    }
    known += concat(known.empty() ? "" : ", ", name_of(each));
  }
  require(!used, field, ": type '", type, "' is unknown; known: ", known);
  return filler;
}

std::vector<Shape> LayerBase::infer_shapes(const std::vector<Shape>& bottoms) {
  for (size_t i = 0; i < bottoms.size(); ++i)
    check_shape("bottom " + bottom_text(i, bottoms[i]), bottoms[i]);
  std::vector<Shape> tops = infer(bottoms);
  for (size_t i = 0; i < tops.size(); ++i) {
    const std::string name =
        i < spec().tops.size() ? concat("'", spec().tops[i], "'") : std::to_string(i);
    if (may_be_empty() && tops[i].count() == 0) continue;
    check_shape(concat("top ", name, " (", tops[i], ")"), tops[i]);
  }
  const std::vector<ParamDecl> decls = params();
  for (size_t i = 0; i < decls.size(); ++i) {
    check_shape(concat("parameter ", i, " (", decls[i].shape, ")"), decls[i].shape);
    check_filler(concat(title(), ": the filler of parameter ", i), decls[i].filler, decls[i].shape);
  }
  return tops;
}

void LayerBase::check_shape(const std::string& what, const Shape& shape) const {
  require(shape.axes() <= kMaxAxes, what, " has ", shape.axes(), " axes; the limit is ", kMaxAxes);
  int64_t count = 1;
  for (const int64_t dim : shape.dims()) {
    require(dim > 0, what, " would be empty: every axis must be at least 1");
    require(dim <= kMaxCount / count, what,
            " would have 2^31 or more elements; try a smaller batch");
    count *= dim;
  }
}

std::vector<ValueId> LayerBase::bottoms(const Lowering& to) const {
  std::vector<ValueId> values;
  for (size_t i = 0; i < spec().bottoms.size(); ++i)
    values.push_back(to.bottom(static_cast<int>(i)));
  return values;
}

std::string LayerBase::bottom_text(size_t index, const Shape& shape) const {
  const auto& names = spec().bottoms;
  return concat("'", index < names.size() ? names[index] : std::to_string(index), "' (", shape,
                ")");
}

int LayerBase::axis_in(const Shape& shape, int64_t axis, const std::string& field) const {
  const int found = shape.canonical(axis);
  require(found >= 0, field, ": ", axis, " is out of range for bottom ", bottom_text(0, shape),
          ", which has ", shape.axes(), " axes");
  return found;
}

int64_t LayerBase::extent(const std::string& field, int64_t value, int64_t least) const {
  require(value >= least && value <= kMaxExtent, field, ": ", value, " is out of range; expected ",
          least, " to ", kMaxExtent);
  return value;
}

void LayerBase::require_maps(size_t index, const Shape& shape) const {
  require(shape.axes() == 4, "expected a bottom of 4 axes (N, C, H, W); got ",
          bottom_text(index, shape));
}

void LayerBase::refuse_in_place() const {
  for (const std::string& top : spec().tops)
    require(top != spec().bottoms[0],
            "cannot work in place; give its top another name than its bottom's");
}

void LayerBase::keep_replicas_apart(bool mixes, const std::string& what) const {
  require(
      !mixes || replicas() == 1, what, " works across axis 0, where the ", replicas(),
      " replicas stand one after the other, and would mix them; use replicas: 1 or another axis");
}

}  // namespace pcc
