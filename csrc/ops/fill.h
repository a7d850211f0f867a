// How blobs get values that are not computed: first values of parameters, contents of DummyData.
#pragma once

#include <string>

#include "ops/desc.h"

namespace pcc {

// The words of a FillerParameter's type: "xavier".
inline constexpr FillerDesc::Type kFillerTypes[] = {
    FillerDesc::Type::constant, FillerDesc::Type::uniform, FillerDesc::Type::gaussian,
    FillerDesc::Type::xavier,   FillerDesc::Type::msra,    FillerDesc::Type::unitball,
    FillerDesc::Type::bilinear};
const char* name_of(FillerDesc::Type type);

// Throws a config error that begins with `who` if the filler's numbers make no sense, or cannot
// fill that shape.
void check_filler(const std::string& who, const FillerDesc& filler, const Shape& shape);

// The uniform or gaussian filler that xavier (variance 1/fan: Glorot & Bengio 2010) and msra
// (2/fan: He, Zhang, Ren & Sun 2015) are for that shape; others as they are.
FillerDesc scaled_filler(const FillerDesc& filler, const Shape& shape);

// Writes shape.count() values, drawn from `stream`. fan_in = count / shape[0], fan_out = count /
// shape[1], as Caffe's fillers. Throws as check_filler does.
void fill(const FillerDesc& filler, const Shape& shape, const RandomStream& stream, double* out);

}  // namespace pcc
