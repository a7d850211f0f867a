// Where data layers get their records from: arrays that are held in memory, or batches that a
// Python object delivers. Pictures with labels, or any named fields.
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "bindings/bindings.h"

namespace pcc {

namespace {

// Arrays of as many records each, one for every field.
struct Records {
  std::vector<py::array> arrays;
  std::vector<RecordType> types;

  int64_t count() const { return arrays[0].shape(0); }
  RecordBatch batch() const {
    RecordBatch batch;
    for (size_t f = 0; f < arrays.size(); ++f) {
      batch.fields[f] = arrays[f].data();
      batch.types[f] = types[f];
    }
    batch.total = count();
    return batch;
  }
};

template <typename T>
py::array contiguous(const std::string& name, const py::array& array) {
  auto made = py::array_t<T, py::array::c_style | py::array::forcecast>::ensure(array);
  PCC_DATA(made, "field '", name, "': an array of type ",
           py::str(array.dtype()).cast<std::string>(), " cannot be converted");
  return made;
}

// A number for these arrays, which whoever holds them has, too, where nobody can write to them: a
// device needs them once. Others, and all that come later, have numbers of their own.
std::shared_ptr<const uint64_t> number_of(const Records& records) {
  static std::mutex mutex;
  static uint64_t sets = 0;
  static std::map<std::vector<std::pair<const void*, py::ssize_t>>, std::weak_ptr<const uint64_t>>
      shared;
  const std::lock_guard lock(mutex);
  std::vector<std::pair<const void*, py::ssize_t>> key;
  for (const py::array& array : records.arrays) {
    if (array.writeable()) return std::make_shared<const uint64_t>(++sets);
    key.emplace_back(array.data(), array.nbytes());
  }
  std::erase_if(shared, [](const auto& entry) { return entry.second.expired(); });
  std::weak_ptr<const uint64_t>& place = shared[key];
  std::shared_ptr<const uint64_t> number = place.lock();
  if (!number) place = number = std::make_shared<const uint64_t>(++sets);
  return number;
}

// Of one value for each record.
py::array array_of(const std::string& name, const py::handle& values) {
  const py::array array = py::array::ensure(values);
  PCC_DATA(array, "field '", name, "': expected an array");
  PCC_DATA(array.ndim() > 0, "field '", name,
           "': expected one value for each record, got one for all");
  return array;
}

// Adds an array in the type in which ops read it: float32, uint8 or int32. Where it is that, and
// contiguous, it is not copied.
void add(Records& to, const std::string& name, const py::array& array) {
  const char kind = array.dtype().kind();
  const py::ssize_t size = array.itemsize();
  PCC_DATA(array.shape(0) > 0, "field '", name, "': there are no records");
  if (kind == 'f') {
    to.arrays.push_back(contiguous<float>(name, array));
    to.types.push_back(RecordType::f32);
  } else if (kind == 'b' || (kind == 'u' && size == 1)) {
    to.arrays.push_back(contiguous<uint8_t>(name, array));
    to.types.push_back(RecordType::u8);
  } else {
    PCC_DATA(kind == 'i' || kind == 'u', "field '", name, "': expected numbers, got ",
             py::str(array.dtype()).cast<std::string>());
    if (size > (kind == 'u' ? 2 : 4) && array.size() > 0)
      for (const char* end : {"min", "max"}) {
        const py::int_ value(array.attr(end)());
        PCC_DATA(py::cast(INT32_MIN) <= value && value <= py::cast(INT32_MAX), "field '", name,
                 "': whole numbers must fit into 32 bits, not be ",
                 py::str(value).cast<std::string>());
      }
    to.arrays.push_back(contiguous<int32_t>(name, array));
    to.types.push_back(RecordType::i32);
  }
  PCC_DATA(to.arrays.back().shape(0) == to.count(), "field '", name, "' has ",
           to.arrays.back().shape(0), " records, others ", to.count());
}

Shape record_shape(const py::array& array) {
  return Shape(std::vector<int64_t>(array.shape() + 1, array.shape() + array.ndim()));
}

// Pictures (n, C, H, W), uint8 or float32, with their labels (n,), or zeros.
Records pictures_from(const py::array& records, const py::object& label_object) {
  using Labels = py::array_t<int32_t, py::array::c_style | py::array::forcecast>;
  const bool is_float = records.dtype().kind() == 'f';
  PCC_DATA(is_float || records.dtype().is(py::dtype::of<uint8_t>()),
           "records must be uint8 or float32");
  PCC_DATA(records.ndim() == 4, "records must have four axes (n, C, H, W), not ", records.ndim());
  PCC_DATA(records.shape(0) > 0, "there are no records");
  Labels labels;
  if (label_object.is_none()) {
    labels = Labels(records.shape(0));
    std::memset(labels.mutable_data(), 0, static_cast<size_t>(labels.nbytes()));
  } else {
    labels = label_object.cast<Labels>();
  }
  PCC_DATA(labels.ndim() == 1 && labels.shape(0) == records.shape(0), records.shape(0),
           " records, but ", labels.size(), " labels");
  Records made;
  add(made, "data", records);
  add(made, "label", labels);
  return made;
}

std::vector<RecordField> picture_and_label(const Shape& picture) {
  return {{"data", picture}, {"label", Shape{}}};
}

// Those of a mapping that fields name.
Records fields_from(const py::object& arrays, const std::vector<RecordField>& fields) {
  Records made;
  for (const RecordField& field : fields) {
    PCC_DATA(arrays.contains(field.name), "records came without the field '", field.name, "'");
    add(made, field.name, array_of(field.name, arrays[py::str(field.name)]));
    PCC_DATA(record_shape(made.arrays.back()) == field.shape, "field '", field.name,
             "': records must be ", field.shape, ", not ", record_shape(made.arrays.back()));
  }
  return made;
}

void check_fields(const std::vector<RecordField>& fields) {
  PCC_DATA(!fields.empty() && fields.size() <= RecordBatch::kMaxFields, "records of ",
           fields.size(), " fields; there must be 1 to ", RecordBatch::kMaxFields);
}

class ArrayFeed : public RecordFeed {
 public:
  ArrayFeed(const py::array& records, const py::object& labels) : pictures_(true) {
    Records made = pictures_from(records, labels);
    fields_ = picture_and_label(record_shape(made.arrays[0]));
    take(std::move(made));
  }
  explicit ArrayFeed(const py::dict& arrays) {
    for (const auto& [name, array] : arrays) {
      const auto field = name.cast<std::string>();
      fields_.push_back({field, record_shape(array_of(field, array))});
    }
    check_fields(fields_);
    take(fields_from(arrays, fields_));
  }

  // Other records of the same shapes: MemoryData's set_input_arrays.
  void replace(const py::array& records, const py::object& labels) {
    PCC_DATA(pictures_, "expected arrays of the fields");
    Records made = pictures_from(records, labels);
    const Shape shape = record_shape(made.arrays[0]);
    PCC_DATA(shape == fields_[0].shape, "records must be ", fields_[0].shape, ", not ", shape);
    take(std::move(made));
  }
  void replace(const py::dict& arrays) {
    PCC_DATA(!pictures_, "expected records and labels");
    take(fields_from(arrays, fields_));
  }

  std::vector<RecordField> fields() const override { return fields_; }
  bool pictures() const override { return pictures_; }
  RecordBatch next(int64_t count) override {
    std::vector<Records> read;
    RecordBatch batch;
    {
      const std::lock_guard lock(mutex_);
      batch = current_;
      batch.first = position_;
      position_ = (position_ + count) % current_.total;
      read.swap(replaced_);
    }
    if (!read.empty()) {
      py::gil_scoped_acquire gil;
      read.clear();
    }
    return batch;
  }
  int64_t position() const override {
    const std::lock_guard lock(mutex_);
    return position_;
  }
  void seek(int64_t position) override {
    const std::lock_guard lock(mutex_);
    position_ = ((position % current_.total) + current_.total) % current_.total;
  }
  int64_t size() const {
    const std::lock_guard lock(mutex_);
    return current_.total;
  }

 private:
  void take(Records records) {
    std::shared_ptr<const uint64_t> number = number_of(records);
    const std::lock_guard lock(mutex_);
    if (!records_.arrays.empty()) replaced_.push_back(std::move(records_));
    records_ = std::move(records);
    position_ = 0;
    current_ = records_.batch();
    current_.resident = *number;
    number_ = std::move(number);
  }

  bool pictures_ = false;
  std::vector<RecordField> fields_;
  mutable std::mutex mutex_;  // of what follows; nobody waits for Python's lock with it
  Records records_;
  std::shared_ptr<const uint64_t> number_;
  std::vector<Records> replaced_;  // the pass that goes on may read them
  RecordBatch current_;
  int64_t position_ = 0;
};

// `source` is any object with shape (C, H, W) and next(count) -> (records, labels), or with fields
// {name: shape} and next(count) -> {name: array}, and position and seek(position). It reads ahead
// on threads of its own, so that next seldom waits.
class StreamFeed : public RecordFeed {
 public:
  explicit StreamFeed(py::object source)
      : source_(std::move(source)), pictures_(!py::hasattr(source_, "fields")) {
    if (pictures_) {
      const auto dims = source_.attr("shape").cast<std::vector<int64_t>>();
      PCC_DATA(dims.size() == 3, "a record source's shape must be (C, H, W)");
      fields_ = picture_and_label(Shape(dims));
    } else {
      for (const auto& [name, shape] : py::dict(source_.attr("fields")))
        fields_.push_back({name.cast<std::string>(), Shape(shape.cast<std::vector<int64_t>>())});
      check_fields(fields_);
    }
  }
  ~StreamFeed() override {
    if (!Py_IsInitialized()) {
      source_.release();
      for (py::array& array : current_.arrays) array.release();
      return;
    }
    py::gil_scoped_acquire gil;
    current_ = {};
    source_ = py::object();
  }
  std::vector<RecordField> fields() const override { return fields_; }
  bool pictures() const override { return pictures_; }
  RecordBatch next(int64_t count) override {
    py::gil_scoped_acquire gil;
    const py::object given = source_.attr("next")(count);
    if (pictures_) {
      const py::tuple pair = given;
      current_ = pictures_from(pair[0].cast<py::array>(), py::object(pair[1]));
      const Shape shape = record_shape(current_.arrays[0]);
      PCC_DATA(shape == fields_[0].shape, "the record source gave records of ", shape, ", not ",
               fields_[0].shape);
    } else {
      current_ = fields_from(given, fields_);
    }
    PCC_DATA(current_.count() == count, "the record source gave ", current_.count(),
             " records for ", count);
    return current_.batch();
  }
  int64_t position() const override {
    py::gil_scoped_acquire gil;
    return source_.attr("position").cast<int64_t>();
  }
  void seek(int64_t position) override {
    py::gil_scoped_acquire gil;
    source_.attr("seek")(position);
  }
  size_t size() const { return py::len(source_); }

 private:
  py::object source_;
  bool pictures_;
  std::vector<RecordField> fields_;
  Records current_;
};

}  // namespace

std::map<std::string, LayerFeed> feeds_from(const py::dict& feeds) {
  std::map<std::string, LayerFeed> map;
  for (const auto& [name, pair] : feeds) {
    const py::tuple entry = pair.cast<py::tuple>();
    LayerFeed feed;
    if (!entry[0].is_none()) feed.records = entry[0].cast<std::shared_ptr<RecordFeed>>();
    if (!entry[1].is_none()) {
      const auto mean =
          entry[1].cast<py::array_t<float, py::array::c_style | py::array::forcecast>>();
      feed.mean =
          std::make_shared<const std::vector<float>>(mean.data(), mean.data() + mean.size());
    }
    map[name.cast<std::string>()] = std::move(feed);
  }
  return map;
}

void bind_feeds(py::module_& m) {
  py::class_<RecordFeed, std::shared_ptr<RecordFeed>>(
      m, "RecordFeed", "Records for a data layer, in order, wrapping at the end.")
      .def_property("position", &RecordFeed::position, &RecordFeed::seek,
                    "Record that the next batch begins with.")
      .def_property_readonly(
          "shape", [](const RecordFeed& feed) { return feed.fields()[0].shape.dims(); },
          "Of a record's first field: (C, H, W) of pictures.")
      .def_property_readonly(
          "fields",
          [](const RecordFeed& feed) {
            py::typing::Dict<py::str, py::typing::List<py::int_>> shapes;
            for (const RecordField& field : feed.fields())
              shapes[py::str(field.name)] = py::cast(field.shape.dims());
            return shapes;
          },
          "Shapes of a record's fields by name.");
  py::class_<ArrayFeed, RecordFeed, std::shared_ptr<ArrayFeed>>(m, "ArrayFeed",
                                                                "Records held in memory.")
      .def(py::init<const typed::Records&, const typed::Labels&>(), py::arg("records"),
           py::arg("labels") = py::none(),
           "records: (n, C, H, W), uint8 or float32, not copied where contiguous. labels: (n,), or "
           "zeros.")
      .def(py::init<const typed::Fields&>(), py::arg("fields"),
           "fields: arrays (n, ..) of any shape by name: float32, uint8, or whole numbers of 32 "
           "bits, not copied where they are that and contiguous.")
      .def(
          "replace",
          [](ArrayFeed& feed, const typed::Records& records, const typed::Labels& labels) {
            feed.replace(records, labels);
          },
          py::arg("records"), py::arg("labels") = py::none(),
          "Goes on with other records of the same shape, from the first one.")
      .def(
          "replace", [](ArrayFeed& feed, const typed::Fields& fields) { feed.replace(fields); },
          py::arg("fields"), "The same for fields by name.")
      .def("__len__", &ArrayFeed::size);
  py::class_<StreamFeed, RecordFeed, std::shared_ptr<StreamFeed>>(
      m, "StreamFeed", "Records that a Python object delivers.")
      .def(
          py::init<typed::RecordSource>(), py::arg("source"),
          "source: has position, seek(position), and shape (C, H, W) with next(count) -> (records, "
          "labels), or fields {name: shape} with next(count) -> {name: array}.")
      .def("__len__", &StreamFeed::size, "Records of the source; TypeError if it does not say.");
}

}  // namespace pcc
