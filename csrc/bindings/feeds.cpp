// Where data layers get their records from: an array that is held in memory, or batches that a
// Python callable delivers.
#include <atomic>
#include <cstring>

#include "bindings/bindings.h"

namespace pcc {

namespace {

using Labels = py::array_t<int32_t, py::array::c_style | py::array::forcecast>;

// Checks and reads an array of records (n, C, H, W), uint8 or float32.
struct Records {
  py::array array;
  Labels labels;
  bool is_float = false;

  Records(const py::array& records, const py::object& label_object) {
    is_float = records.dtype().kind() == 'f';
    PCC_DATA(is_float || records.dtype().is(py::dtype::of<uint8_t>()),
             "records must be uint8 or float32");
    if (is_float)
      array = py::array_t<float, py::array::c_style | py::array::forcecast>::ensure(records);
    else
      array = py::array_t<uint8_t, py::array::c_style>::ensure(records);
    PCC_DATA(array.ndim() == 4, "records must have four axes (n, C, H, W), not ", array.ndim());
    if (label_object.is_none()) {
      labels = Labels(static_cast<py::ssize_t>(array.shape(0)));
      std::memset(labels.mutable_data(), 0, static_cast<size_t>(labels.nbytes()));
    } else {
      labels = label_object.cast<Labels>();
    }
    PCC_DATA(labels.ndim() == 1 && labels.shape(0) == array.shape(0), array.shape(0),
             " records, but ", labels.size(), " labels");
  }
  Shape shape() const { return Shape{array.shape(1), array.shape(2), array.shape(3)}; }
  RecordBatch batch() const {
    RecordBatch batch;
    batch.fields[0] = array.data();
    batch.types[0] = is_float ? RecordType::f32 : RecordType::u8;
    batch.fields[1] = labels.data();
    batch.types[1] = RecordType::i32;
    batch.total = array.shape(0);
    return batch;
  }
};

std::vector<RecordField> picture_and_label(const Shape& picture) {
  return {{"data", picture}, {"label", Shape{}}};
}

class ArrayFeed : public RecordFeed {
 public:
  ArrayFeed(const py::array& records, const py::object& labels) { replace(records, labels); }

  // Other records of the same shape: MemoryData's set_input_arrays.
  void replace(const py::array& records, const py::object& labels) {
    auto next = std::make_unique<Records>(records, labels);
    PCC_DATA(next->array.shape(0) > 0, "there are no records");
    PCC_DATA(!records_ || next->shape() == records_->shape(), "records must be ", records_->shape(),
             ", not ", next->shape());
    records_ = std::move(next);
    position_ = 0;
    size_ = records_->array.shape(0);
    current_ = records_->batch();
    // A number of its own for each set of arrays that was ever held.
    static std::atomic<uint64_t> sets{0};
    current_.resident = ++sets;
    shape_ = records_->shape();
  }
  std::vector<RecordField> fields() const override { return picture_and_label(shape_); }
  RecordBatch next(int64_t count) override {
    RecordBatch batch = current_;
    batch.first = position_;
    position_ = (position_ + count) % size_;
    return batch;
  }
  int64_t position() const override { return position_; }
  void seek(int64_t position) override { position_ = ((position % size_) + size_) % size_; }
  int64_t size() const { return size_; }

 private:
  std::unique_ptr<Records> records_;
  RecordBatch current_;
  Shape shape_;
  int64_t position_ = 0, size_ = 0;
};

// `source` is any object with shape (C, H, W), next(count) -> (records, labels), position and
// seek(position); it reads ahead on threads of its own, so that next seldom waits.
class StreamFeed : public RecordFeed {
 public:
  explicit StreamFeed(py::object source) : source_(std::move(source)) {
    const auto dims = source_.attr("shape").cast<std::vector<int64_t>>();
    PCC_DATA(dims.size() == 3, "a record source's shape must be (C, H, W)");
    shape_ = Shape(dims);
  }
  ~StreamFeed() override {
    if (!Py_IsInitialized()) {
      source_.release();
      return;
    }
    py::gil_scoped_acquire gil;
    current_.reset();
    source_ = py::object();
  }
  std::vector<RecordField> fields() const override { return picture_and_label(shape_); }
  RecordBatch next(int64_t count) override {
    py::gil_scoped_acquire gil;
    const py::tuple pair = source_.attr("next")(count);
    current_ = std::make_unique<Records>(pair[0].cast<py::array>(), py::object(pair[1]));
    PCC_DATA(current_->array.shape(0) == count, "the record source gave ", current_->array.shape(0),
             " records for ", count);
    PCC_DATA(current_->shape() == shape_, "the record source gave records of ", current_->shape(),
             ", not ", shape_);
    return current_->batch();
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
  std::unique_ptr<Records> current_;
  Shape shape_;
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
          "(C, H, W)");
  py::class_<ArrayFeed, RecordFeed, std::shared_ptr<ArrayFeed>>(m, "ArrayFeed",
                                                                "Records held in memory.")
      .def(py::init<const typed::Records&, const typed::Labels&>(), py::arg("records"),
           py::arg("labels") = py::none(),
           "records: (n, C, H, W), uint8 or float32, not copied where contiguous. labels: (n,), or "
           "zeros.")
      .def(
          "replace",
          [](ArrayFeed& feed, const typed::Records& records, const typed::Labels& labels) {
            feed.replace(records, labels);
          },
          py::arg("records"), py::arg("labels") = py::none(),
          "Goes on with other records of the same shape, from the first one.")
      .def("__len__", &ArrayFeed::size);
  py::class_<StreamFeed, RecordFeed, std::shared_ptr<StreamFeed>>(
      m, "StreamFeed", "Records that a Python object delivers.")
      .def(py::init<typed::RecordSource>(), py::arg("source"),
           "source: has shape (C, H, W), next(count) -> (records, labels), position, "
           "seek(position).")
      .def("__len__", &StreamFeed::size, "Records of the source; TypeError if it does not say.");
}

}  // namespace pcc
