// Net for Python.
#include "graph/net.h"

#include <cmath>
#include <limits>

#include "bindings/bindings.h"

namespace pcc {

py::capsule keep_alive(const std::shared_ptr<Memory>& memory) {
  return py::capsule(new std::shared_ptr<Memory>(memory),
                     [](void* p) { delete static_cast<std::shared_ptr<Memory>*>(p); });
}

typed::Values view(const Tensor& tensor, py::handle owner) {
  const std::vector<py::ssize_t> shape(tensor.shape().dims().begin(), tensor.shape().dims().end());
  if (tensor.spec.dtype == DType::f64)
    return py::array_t<double>(shape, tensor.as<double>(), owner);
  return py::array_t<float>(shape, tensor.as<float>(), owner);
}

namespace {

using NetPointer = std::shared_ptr<Net>;

NetPointer make_net(const py::typing::List<typed::LayerSpec>& layers,
                    const typed::NetSettings& settings,
                    const py::typing::Dict<py::str, typed::LayerFeed>& feeds,
                    const NetPointer& share) {
  NetOptions options;
  options.train = take<bool>(settings, "train", true);
  options.backend = take<std::string>(settings, "backend", "");
  options.described = take<bool>(settings, "described", false);
  options.dtype =
      take<std::string>(settings, "dtype", "float32") == "float64" ? DType::f64 : DType::f32;
  options.precision = precision_named(take<std::string>(settings, "precision", ""));
  options.fuse = take<bool>(settings, "fuse", false);
  options.keep_blobs = take<bool>(settings, "keep_blobs", !options.fuse);
  options.keep = take<std::vector<std::string>>(settings, "keep", {});
  options.replicas = take<int64_t>(settings, "replicas", 1);
  options.rank = take<int64_t>(settings, "rank", 0);
  options.ranks = take<int64_t>(settings, "ranks", 1);
  options.seed = take<uint64_t>(settings, "seed", 1);
  options.index = take<uint32_t>(settings, "index", 0);
  options.merge = take<int64_t>(settings, "merge", 0);
  options.force_backward = take<bool>(settings, "force_backward", false);
  const std::vector<LayerSpec> specs = specs_from(layers);
  std::map<std::string, LayerFeed> made = feeds_from(feeds);
  py::gil_scoped_release release;
  return std::make_shared<Net>(specs, std::move(made), std::move(options), share);
}

int blob_of(const Net& net, const std::string& name) {
  const int blob = net.blob_index(name);
  PCC_CONFIG(blob >= 0, "the net has no blob '", name, "'");
  return blob;
}

// The array over a blob's host memory. The memory outlives the net for as long as the array does.
typed::Values blob_array(Net& net, const std::string& name, bool diff) {
  const HostBlob host = net.host(blob_of(net, name), diff);
  const auto memory = diff ? host.diff : host.data;
  return view({memory->data(), {host.shape, net.options().dtype, Layout::plain}},
              keep_alive(memory));
}

py::typing::List<typed::LayerRow> layer_list(const Net& net) {
  py::typing::List<typed::LayerRow> list;
  for (const LayerInfo& info : net.layers()) {
    py::dict row;
    row["name"] = info.layer->spec().name;
    row["type"] = info.layer->spec().type;
    row["bottoms"] = info.bottoms;
    row["tops"] = info.tops;
    row["loss_weights"] = info.loss_weights;
    row["params"] = info.params;
    row["need_backward"] = info.need_backward;
    row["bottom_need_backward"] = info.bottom_need_backward;
    list.append(row);
  }
  return list;
}

py::typing::List<typed::ParamRow> param_list(Net& net) {
  py::typing::List<typed::ParamRow> list;
  for (const Param& param : net.params()) {
    py::dict row;
    row["layer"] = param.layer;
    row["index"] = param.index;
    row["name"] = param.name;
    row["shape"] = param.shape.dims();
    row["owner"] = param.owner;
    row["statistic"] = param.statistic;
    row["lr_mult"] = param.lr_mult;
    row["decay_mult"] = param.decay_mult;
    list.append(row);
  }
  return list;
}

// A view whose shape is that of this use, which a permissively shared parameter may have
// differently from its owner.
typed::Values param_array(Net& net, size_t index, bool diff) {
  PCC_CHECK(index < net.params().size(), "the net has no parameter ", index);
  const Net::HostParam param = net.host_param(static_cast<int>(index), diff);
  return view(param.tensor, keep_alive(param.memory));
}

py::typing::List<typed::PlanRow> plan_list(const Net& net) {
  const auto work_of = [](const Work& work) {
    py::dict entry;
    entry["launches"] = work.launches;
    entry["bytes"] = work.bytes;
    entry["flops"] = work.flops;
    return entry;
  };
  py::typing::List<typed::PlanRow> list;
  for (const PlanRow& row : net.plan_rows()) {
    py::dict entry;
    entry["op"] = row.op;
    entry["implementation"] = row.implementation;
    entry["backend"] = row.backend;
    entry["layers"] = row.layers;
    entry["ins"] = row.ins;
    entry["outs"] = row.outs;
    entry["bytes"] = row.out_bytes;
    entry["backward"] = row.backward;
    entry["forward_work"] = work_of(row.forward_work);
    entry["backward_work"] = work_of(row.backward_work);
    list.append(entry);
  }
  return list;
}

std::tuple<std::vector<std::vector<double>>, double, int64_t> run_test(
    Net& net, int64_t iterations, const std::function<bool()>& poll) {
  Net::Tested tested;
  {
    py::gil_scoped_release release;
    tested = net.test(iterations, [&poll] {
      py::gil_scoped_acquire gil;
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
      return !poll || poll();
    });
  }
  return {std::move(tested.sums), tested.loss, tested.passes};
}

double magnitude(const Net& net, size_t layer, size_t place, bool diff) {
  PCC_CHECK(layer < net.layers().size(), "the net has no layer ", layer);
  return net.magnitude(static_cast<int>(layer), static_cast<int>(place), diff);
}

using NodeTime = std::tuple<std::string, std::string, std::vector<int>, double, double>;

std::vector<NodeTime> node_times(Net& net) {
  std::vector<Net::NodeTime> times;
  {
    py::gil_scoped_release release;
    times = net.time_nodes();
  }
  std::vector<NodeTime> list;
  for (const Net::NodeTime& row : times)
    list.emplace_back(row.name, row.op, row.layers, row.forward, row.backward);
  return list;
}

std::vector<std::string> names_of(const Net& net, const std::vector<int>& blobs) {
  std::vector<std::string> names;
  for (const int blob : blobs) names.push_back(net.blobs()[static_cast<size_t>(blob)].name);
  return names;
}

}  // namespace

void bind_net(py::module_& m) {
  using py::arg;
  py::class_<Net, NetPointer>(m, "Net", "A net that was built and planned. See csrc/graph/net.h.")
      .def(py::init(&make_net), arg("layers"), arg("settings") = py::dict(),
           arg("feeds") = py::dict(), arg("share") = nullptr,
           "feeds: by the names of the layers that read records. share: the net whose parameters "
           "are used, by their layers' names.")
      .def("forward", py::overload_cast<>(&Net::forward), py::call_guard<py::gil_scoped_release>(),
           "Runs all layers; the weighted loss.")
      .def("forward", py::overload_cast<int, int>(&Net::forward),
           py::call_guard<py::gil_scoped_release>(), arg("first"), arg("last"),
           "Runs layers by number, both included; their weighted loss.")
      .def("backward", py::overload_cast<>(&Net::backward),
           py::call_guard<py::gil_scoped_release>(),
           "Runs all layers backward; adds to the diffs of parameters.")
      .def("backward", py::overload_cast<int, int>(&Net::backward),
           py::call_guard<py::gil_scoped_release>(), arg("first"), arg("last"),
           "Runs layers backward by number, from the higher one, both included.")
      .def("clear_param_diffs", &Net::clear_param_diffs,
           "Sets the diff of every parameter to zero.")
      .def("test", &run_test, arg("iterations"), arg("poll") = nullptr,
           "Forward passes: (per output the summed values, summed loss, passes made). Stops early "
           "where poll() is false.")
      .def(
          "data", [](Net& net, const std::string& name) { return blob_array(net, name, false); },
          arg("blob"),
          "Values of a blob: a writable view in its shape, kept up to date from then on.")
      .def(
          "diff", [](Net& net, const std::string& name) { return blob_array(net, name, true); },
          arg("blob"), "The same of its diff.")
      .def(
          "read",
          [](const Net& net, const std::string& name) { return net.read(blob_of(net, name)); },
          arg("blob"), "Values of an output; under replicas those of replica 0.")
      .def(
          "param_data", [](Net& net, size_t index) { return param_array(net, index, false); },
          arg("index"), "Values of a parameter: a writable view in its shape.")
      .def(
          "param_diff", [](Net& net, size_t index) { return param_array(net, index, true); },
          arg("index"), "The same of its diff, summed since clear_param_diffs.")
      .def("magnitude", &magnitude, arg("layer"), arg("place"), arg("diff"),
           "Mean magnitude of a layer's top, or of the diff of its bottom; layers by number. Of "
           "nets built with fuse=False.")
      .def(
          "python_layer",
          [](const Net& net, size_t layer) {
            PCC_CHECK(layer < net.layers().size(), "the net has no layer ", layer);
            return python_layer_of(*net.layers()[layer].layer);
          },
          arg("layer"), "The object that computes a layer written in Python, else None.")
      .def("params", &param_list, "All parameters, in the order of their layers.")
      .def("learnable", &Net::learnable, "Indexes of the parameters whose memory is this net's.")
      .def("layers", &layer_list, "All layers, in order.")
      .def(
          "blobs",
          [](const Net& net) {
            std::vector<std::string> names;
            for (const BlobInfo& blob : net.blobs()) names.push_back(blob.name);
            return names;
          },
          "Names of all blobs, in the order in which they are made.")
      .def(
          "shape",
          [](const Net& net, const std::string& name) {
            return net.blobs()[static_cast<size_t>(blob_of(net, name))].shape().dims();
          },
          arg("blob"), "Sizes of a blob's axes.")
      .def(
          "inputs", [](const Net& net) { return names_of(net, net.inputs()); },
          "Names of the blobs that no layer makes.")
      .def(
          "outputs", [](const Net& net) { return names_of(net, net.outputs()); },
          "Names of the blobs that no layer reads.")
      .def(
          "reshape",
          [](Net& net, const typed::Shapes& shapes, int last) {
            std::map<std::string, Shape> inputs;
            for (const auto& [name, dims] : shapes)
              inputs[name.cast<std::string>()] = Shape(dims.cast<std::vector<int64_t>>());
            net.reshape(inputs, last);
          },
          arg("inputs"), arg("last") = -1,
          "Gives inputs other shapes; the net follows. Views made before go stale. last: for a "
          "pass "
          "up to that layer, behind which layers need not fit.")
      .def("warnings", &Net::warnings, "What was noticed while the net was built.")
      .def("fallbacks", &Net::fallbacks,
           "Ops that the backend refused and the reference backend runs.")
      .def("plan", &plan_list, "The ops that a pass runs, in order.")
      .def(
          "time", &node_times,
          "Runs one pass: (name, op, layers, seconds forward, seconds backward) of every op; those "
          "that begin with copy are ways to the host and back.")
      .def_property_readonly(
          "backend", [](const Net& net) { return net.backend().name(); },
          "Name of the backend that was asked for.")
      .def_property_readonly(
          "precision", [](const Net& net) { return name_of(net.device()->precision()); },
          "What its convolutions and matrix products multiply: 'fp32', 'tf32' or 'bf16'.")
      .def_property_readonly("memory_bytes", &Net::memory_bytes,
                             "Memory of values, parameters and ops.")
      .def_property_readonly(
          "arena_bytes", [](const Net& net) { return net.plan().arena_bytes(); },
          "Of it, what values share.")
      .def_property_readonly(
          "ranks", [](const Net& net) { return net.options().ranks; },
          "How many processes train it together, each with a share of its batches.")
      .def_property(
          "pass_count", [](Net& net) { return net.state().pass; },
          [](Net& net, uint64_t pass) { net.state().pass = pass; },
          "Forward passes made, which key the random numbers.")
      .def_property(
          "seed", [](Net& net) { return net.state().seed; },
          [](Net& net, uint64_t seed) { net.state().seed = seed; }, "Of the random numbers.");
}

}  // namespace pcc
