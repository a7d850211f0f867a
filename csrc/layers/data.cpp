// Data, HDF5Data, ImageData, WindowData, DummyData, Input, MemoryData: layers without bottoms.
// Under replicas each makes its batch once for every replica, one behind the other on axis 0.
// Source: Caffe's files of those names, data_transformer.cpp.
#include <algorithm>

#include "layers/families.h"
#include "layers/layer_base.h"

namespace pcc {
namespace {

class SourceLayer : public LayerBase {
 public:
  using LayerBase::LayerBase;
  Arity arity() const override { return {0, 0, 1, -1, false}; }

 protected:
  // Of a feed whose records are pictures, with a label each: its first field's.
  Shape record_shape() const {
    const std::vector<RecordField> fields = context().feed.records->fields();
    require(context().feed.records->pictures(),
            "expected records of a picture and a label; got the fields ", names_of(fields));
    return fields[0].shape;
  }

  static std::string names_of(const std::vector<RecordField>& fields) {
    std::string names;
    for (const RecordField& field : fields) names += (names.empty() ? "" : ", ") + field.name;
    return names;
  }

  // One shape of one replica's batch becomes that of all of them.
  Shape all_replicas(Shape shape) const {
    if (shape.axes() == 0) return shape;
    const int64_t batches = replicas() * context().batches;
    require(shape[0] <= kMaxCount / batches, "axis 0 of ", shape, " is too large for ", batches,
            replicas() > 1 ? " replicas" : " batches at once");
    shape[0] *= batches;
    return shape;
  }

  // A repeated message BlobShape field, one for each top; one for all is spread.
  std::vector<Shape> listed_shapes(const Attributes& params) const {
    std::vector<Shape> shapes;
    for (const auto& shape : params.subs("shape")) shapes.emplace_back(shape->ints("dim"));
    require(shapes.size() == 1 || shapes.size() == top_count(), "shape is given ", shapes.size(),
            " times; expected once, or once for each of the ", top_count(), " tops");
    if (shapes.size() == 1) shapes.resize(top_count(), shapes[0]);
    for (Shape& shape : shapes) shape = all_replicas(sized(shape));
    return shapes;
  }

  // A shape from the prototxt, before anything is computed with it.
  const Shape& sized(const Shape& shape) const {
    for (const int64_t dim : shape.dims())
      require(dim > 0 && dim <= kMaxCount, "shape ", shape,
              ": every size must be at least 1 and below 2^31");
    return shape;
  }
};

// -> data (N, C, H, W) or, with crop_size, (N, C, crop, crop) [, labels (N)]: the next N =
// batch_size records of a database, in its order, each as (record - mean) * scale, cropped (TRAIN:
// at random, TEST: the centre) and, with mirror, flipped at random. The mean is one number, one per
// channel (mean_value) or a picture (mean_file).
// Where a program feeds it other records -> tops (N, ..), each the field of its name, as it is. So
// do HDF5Data, and WindowData and AnnotatedData, whose feeds transform their pictures themselves;
// ImageData is a Data layer over files of pictures. AnnotatedData's boxes are one list for the
// batch: (1, 1, rows, 8), MultiBoxDesc's truths.
class DataLayer : public SourceLayer {
 public:
  DataLayer(LayerSpec spec, LayerContext context)
      : SourceLayer(std::move(spec), std::move(context)) {
    const std::string& type = this->spec().type;
    const Attributes& data = attributes().sub(type == "HDF5Data"     ? "hdf5_data_param"
                                              : type == "ImageData"  ? "image_data_param"
                                              : type == "WindowData" ? "window_data_param"
                                                                     : "data_param");
    batch_ = extent("batch_size", data.get_int("batch_size"), 1);
    // The feed's business.
    for (const char* field :
         {"source", "backend", "prefetch", "shuffle", "rand_skip", "new_height", "new_width",
          "is_color", "root_folder", "fg_threshold", "bg_threshold", "fg_fraction", "context_pad",
          "crop_mode", "cache_images"})
      data.ignore(field);
    if (type == "AnnotatedData") {
      for (const char* field : {"transform_param", "annotated_data_param"})
        attributes().ignore(field);
      return;
    }
    const Attributes& transform = attributes().sub("transform_param");
    desc_.scale = transform.get_double("scale");
    desc_.mirror = transform.get_bool("mirror");
    desc_.crop = extent("crop_size", transform.get_int("crop_size"), 0);
    mean_file_ = transform.has("mean_file") ? transform.get_string("mean_file") : "";
    mean_values_ = transform.doubles("mean_value");
    for (const char* field : {"force_color", "force_gray"}) transform.ignore(field);
    require(mean_file_.empty() || mean_values_.empty(),
            "give either mean_file or mean_value; not both");
    desc_.train = this->context().train;
    desc_.replicas = replicas();
  }

  Arity arity() const override { return {0, 0, 1, takes_fields() ? -1 : 2, false}; }

  void lower(Lowering& to) const override {
    if (!fields_.empty()) {
      const int feed = to.feed(context().feed.records, batches_[0][0]);
      for (size_t i = 0; i < fields_.size(); ++i) {
        const FieldDesc field{feed, fields_[i], replicas()};
        to.top(static_cast<int>(i), to.view(to.op(field, {}, {}, {batches_[i]})[0], tops_[i]));
      }
      return;
    }
    TransformDesc desc = desc_;
    desc.feed = to.feed(context().feed.records, tops_[0][0]);
    to.tops(to.op(desc, {}, {}, tops_));
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>&) override {
    require(context().feed.records != nullptr, "nothing was opened for it; expected a source: ...");
    if (takes_fields()) return infer_fields();
    const Shape record = record_shape();
    require(record.axes() == 3, "expected records of 3 axes (C, H, W); got ", record);
    check_shape("a record", record);
    desc_.record = record;
    desc_.mean = mean_of(record);
    const int64_t crop = desc_.crop;
    require(crop <= record[1] && crop <= record[2], "crop_size: ", crop, " exceeds the records, ",
            record);
    const int64_t rows = crop ? crop : record[1], columns = crop ? crop : record[2];
    tops_ = {all_replicas(Shape{batch_, record[0], rows, columns})};
    if (top_count() > 1) tops_.push_back(all_replicas(Shape{batch_}));
    return tops_;
  }

 private:
  bool takes_fields() const {
    const std::shared_ptr<RecordFeed>& records = context().feed.records;
    return records && !records->pictures();
  }

  std::vector<Shape> infer_fields() {
    const bool boxes = spec().type == "AnnotatedData";
    keep_replicas_apart(boxes, "one list of boxes");
    require(attributes().size("transform_param") == 0 || spec().type == "WindowData" || boxes,
            "transform_param is for pictures and labels; the fields ",
            names_of(context().feed.records->fields()), " are taken as they are");
    const std::vector<RecordField> all = context().feed.records->fields();
    fields_.clear();
    batches_.clear();
    for (const std::string& top : spec().tops) {
      const auto found = std::find_if(all.begin(), all.end(),
                                      [&](const RecordField& field) { return field.name == top; });
      require(found != all.end(), "no field for top '", top, "'; its records have ", names_of(all));
      check_shape(concat("a record's field '", top, "'"), found->shape);
      fields_.push_back(static_cast<int>(found - all.begin()));
      Shape shape{batch_};
      for (const int64_t dim : found->shape.dims()) shape.push_back(dim);
      batches_.push_back(all_replicas(shape));
    }
    tops_ = batches_;
    if (boxes && tops_.size() > 1) tops_[1] = {1, 1, tops_[1].count() / 8, 8};
    return tops_;
  }

  std::shared_ptr<const std::vector<float>> mean_of(const Shape& record) const {
    const auto channels = static_cast<size_t>(record[0]);
    if (!mean_file_.empty()) {
      const auto& mean = context().feed.mean;
      require(mean != nullptr, "mean_file '", mean_file_, "' was not read");
      require(static_cast<int64_t>(mean->size()) == record.count(), "mean_file '", mean_file_,
              "' holds ", mean->size(), " numbers; the records are ", record,
              ". Was it made from another database?");
      return mean;
    }
    if (mean_values_.empty()) return nullptr;
    require(mean_values_.size() == 1 || mean_values_.size() == channels, "mean_value is given ",
            mean_values_.size(), " times; expected once, or once for each of the ", channels,
            " channels");
    std::vector<float> mean(mean_values_.begin(), mean_values_.end());
    if (mean.size() == 1) mean.resize(channels, mean[0]);
    return std::make_shared<const std::vector<float>>(std::move(mean));
  }

  int64_t batch_ = 1;
  std::string mean_file_;
  std::vector<double> mean_values_;
  std::vector<int> fields_;     // by top; none: pictures and labels
  std::vector<Shape> batches_;  // of the fields
  TransformDesc desc_;
  std::vector<Shape> tops_;
};

// -> tops of given shapes (shape, or the old num, channels, height, width; each once or once per
// top), filled anew at each forward pass by data_filler (none: zeros; one, or one per top).
class DummyDataLayer : public SourceLayer {
 public:
  DummyDataLayer(LayerSpec spec, LayerContext context)
      : SourceLayer(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("dummy_data_param");
    for (const auto& filler : params.subs("data_filler"))
      fillers_.push_back(read_filler(*filler, "data_filler"));
    const size_t count = top_count();
    require(fillers_.size() <= 1 || fillers_.size() == count, "data_filler is given ",
            fillers_.size(), " times; expected none, one, or one for each of the ", count, " tops");
    fillers_.resize(count, fillers_.empty() ? FillerDesc{} : fillers_[0]);
    shapes_ = old_shapes(params);
    if (shapes_.empty()) shapes_ = listed_shapes(params);
  }

  void lower(Lowering& to) const override {
    for (size_t i = 0; i < shapes_.size(); ++i)
      to.top(static_cast<int>(i), to.op(FillDesc{fillers_[i]}, {}, {}, {shapes_[i]})[0]);
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>&) override {
    for (const FillerDesc& filler : fillers_)
      require(context().ranks == 1 || filler.type == FillerDesc::Type::constant ||
                  filler.type == FillerDesc::Type::uniform,
              "data_filler of type ", name_of(filler.type),
              " cannot be shared by several processes; constant and uniform can");
    for (size_t i = 0; i < shapes_.size(); ++i)
      check_filler(concat(title(), ": the filler of top '", spec().tops[i], "'"), fillers_[i],
                   shapes_[i]);
    return shapes_;
  }

 private:
  std::vector<Shape> old_shapes(const Attributes& params) const {
    const char* const fields[] = {"num", "channels", "height", "width"};
    bool any = false;
    for (const char* field : fields) any = params.size(field) > 0 || any;
    if (!any) return {};
    require(params.size("shape") == 0,
            "give either shape or num, channels, height and width; not both");
    std::vector<Shape> shapes(top_count());
    for (const char* field : fields) {
      const std::vector<int64_t> sizes = params.ints(field);
      require(sizes.size() == 1 || sizes.size() == top_count(), field, " is given ", sizes.size(),
              " times; expected once, or once for each of the ", top_count(), " tops");
      for (size_t i = 0; i < shapes.size(); ++i)
        shapes[i].push_back(extent(field, sizes[sizes.size() == 1 ? 0 : i], 1));
    }
    for (Shape& shape : shapes) shape = all_replicas(shape);
    return shapes;
  }

  std::vector<FillerDesc> fillers_;
  std::vector<Shape> shapes_;
};

// -> tops of given shapes (one for all, or one per top), which the caller fills.
class InputLayer : public SourceLayer {
 public:
  InputLayer(LayerSpec spec, LayerContext context)
      : SourceLayer(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("input_param");
    require(params.size("shape") > 0, "expected input_param { shape { dim: ... } }");
    shapes_ = listed_shapes(params);
  }
  void lower(Lowering& to) const override {
    for (size_t i = 0; i < shapes_.size(); ++i) to.top(static_cast<int>(i), to.input(shapes_[i]));
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>&) override { return shapes_; }

 private:
  std::vector<Shape> shapes_;
};

// -> data (N, C, H, W), labels (N), from arrays that the caller set, as they are: Caffe transforms
// none either. Before any were set, the caller fills the tops.
class MemoryDataLayer : public SourceLayer {
 public:
  MemoryDataLayer(LayerSpec spec, LayerContext context)
      : SourceLayer(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("memory_data_param");
    Shape data;
    for (const char* field : {"batch_size", "channels", "height", "width"})
      data.push_back(extent(field, params.get_int(field), 1));
    tops_ = {all_replicas(data), all_replicas(Shape{data[0]})};
    desc_.train = this->context().train;
    desc_.replicas = replicas();
  }

  Arity arity() const override { return {0, 0, 2, 2, false}; }

  void lower(Lowering& to) const override {
    std::vector<ValueId> values;
    if (context().feed.records) {
      TransformDesc desc = desc_;
      desc.feed = to.feed(context().feed.records, tops_[0][0]);
      values = to.op(desc, {}, {}, tops_);
    } else {
      for (const Shape& shape : tops_) values.push_back(to.input(shape));
    }
    to.tops(values);
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>&) override {
    if (context().feed.records) {
      const Shape record = record_shape(), expected{tops_[0][1], tops_[0][2], tops_[0][3]};
      require(record == expected, "expected records of ", expected, "; got ", record);
      desc_.record = record;
    }
    return tops_;
  }

 private:
  TransformDesc desc_;
  std::vector<Shape> tops_;
};

}  // namespace

std::vector<LayerType> data_layers() {
  return {
      entry<DataLayer>("Data"),          entry<DataLayer>("HDF5Data"),
      entry<DataLayer>("ImageData"),     entry<DataLayer>("WindowData"),
      entry<DataLayer>("AnnotatedData"), entry<DummyDataLayer>("DummyData"),
      entry<InputLayer>("Input"),        entry<MemoryDataLayer>("MemoryData"),
  };
}

}  // namespace pcc
