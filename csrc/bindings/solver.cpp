// Solver and Schedule for Python.
#include "solver/solver.h"

#include "bindings/bindings.h"

namespace pcc {

namespace {

ScheduleParams schedule_from(const py::dict& settings) {
  ScheduleParams params;
  params.lr_policy = take<std::string>(settings, "lr_policy", "");
  params.base_lr = take<float>(settings, "base_lr", 0);
  params.max_lr = take<float>(settings, "max_lr", 0);
  params.has_max_lr = settings.contains("max_lr");
  params.gamma = take<float>(settings, "gamma", 0);
  params.power = take<float>(settings, "power", 0);
  params.stepsize = take<int64_t>(settings, "stepsize", 0);
  params.max_iter = take<int64_t>(settings, "max_iter", 0);
  params.stepvalues = take<std::vector<int64_t>>(settings, "stepvalue", {});
  params.momentum = take<float>(settings, "momentum", 0);
  params.cyclical_momentum = take<std::vector<float>>(settings, "cyclical_momentum", {});
  return params;
}

std::shared_ptr<Solver> make_solver(const std::shared_ptr<Net>& net,
                                    const typed::SolverSettings& settings,
                                    const std::shared_ptr<Group>& group) {
  SolverParams params;
  params.type = take<std::string>(settings, "type", "SGD");
  params.schedule = schedule_from(settings);
  params.delta = take<float>(settings, "delta", params.delta);
  params.momentum2 = take<float>(settings, "momentum2", params.momentum2);
  params.rms_decay = take<float>(settings, "rms_decay", params.rms_decay);
  params.weight_decay = take<float>(settings, "weight_decay", 0);
  params.regularization_type = take<std::string>(settings, "regularization_type", "L2");
  params.clip_gradients = take<float>(settings, "clip_gradients", -1);
  params.iter_size = take<int64_t>(settings, "iter_size", 1);
  py::gil_scoped_release release;
  return std::make_shared<Solver>(net, std::move(params), group);
}

std::tuple<std::vector<double>, bool, bool> run(Solver& solver, int64_t count, double seconds,
                                                const std::function<void()>& on_gradients) {
  Solver::Run run;
  {
    py::gil_scoped_release release;
    run = solver.run(
        count, seconds,
        [] {
          py::gil_scoped_acquire gil;
          if (PyErr_CheckSignals() != 0) throw py::error_already_set();
        },
        on_gradients);
  }
  return {run.losses, run.stopped, run.diverged};
}

}  // namespace

void bind_solver(py::module_& m) {
  using py::arg;
  py::class_<Schedule>(
      m, "Schedule",
      "Learning rate and momentum by iteration; settings by their SolverParameter names.")
      .def(py::init([](const typed::SolverSettings& settings) {
             return Schedule(schedule_from(settings));
           }),
           arg("settings"))
      .def("lr", &Schedule::lr, arg("iteration"),
           "Of the update made at an iteration, counted from 0.")
      .def("momentum", &Schedule::momentum, arg("iteration"), "The same.")
      .def("current_step", &Schedule::current_step, arg("iteration"),
           "Steps that step and multistep have taken before that update.")
      .def("restore", &Schedule::restore, arg("iteration"), arg("current_step"),
           "Goes on from a snapshot.");
  m.def("lr_policies", &lr_policies, "Policies that a schedule may follow.");
  m.def(
      "solver_types",
      [] {
        py::typing::Dict<py::str, py::int_> types;
        for (const UpdateRule& rule : update_rules()) types[py::str(rule.type)] = rule.histories;
        return types;
      },
      "Histories that a solver keeps for each parameter, by its type.");
  py::class_<Group, std::shared_ptr<Group>>(
      m, "Group", "Processes that train one net together. See csrc/ops/group.h.")
      .def(py::init<int, int, int, int, std::vector<int>, double>(), arg("rank"), arg("ranks"),
           arg("from_"), arg("to"), arg("words"), arg("patience") = 0.0,
           "Over connected sockets, by descriptor, that the caller keeps open: from the rank "
           "before, to the one behind; words: of rank 0 one for every rank, -1 for its own, of the "
           "others the one to rank 0; empty: nobody leads. patience: seconds to wait for one that "
           "lives but does nothing; 0: for ever.")
      .def(
          "broadcast",
          [](Group& group, py::array array) {
            PCC_CONFIG(array.writeable() && (array.flags() & py::array::c_style),
                       "broadcast takes a writable array without gaps");
            void* const data = array.mutable_data();
            const auto bytes = static_cast<int64_t>(array.nbytes());
            py::gil_scoped_release release;
            group.broadcast(data, bytes);
          },
          arg("array"), "Rank 0's values come to all.")
      .def("end", &Group::end, py::call_guard<py::gil_scoped_release>(),
           "Rank 0 says that no iteration comes any more.")
      .def(
          "abort", [](Group& group) { group.abort(); }, py::call_guard<py::gil_scoped_release>(),
          "Ends what goes on and all that comes, by an error; from any thread.")
      .def_property_readonly("rank", &Group::rank, "The number of this process.")
      .def_property_readonly("ranks", &Group::ranks, "How many there are.");
  py::class_<Solver, std::shared_ptr<Solver>>(
      m, "Solver", "Iterations over one train net. See csrc/solver/solver.h.")
      .def(py::init(&make_solver), arg("net"), arg("settings"), arg("group") = nullptr,
           "group: those with whom the net is trained.")
      .def("forward_backward", &Solver::forward_backward, py::call_guard<py::gil_scoped_release>(),
           "First half of an iteration: gradients. Returns the loss, averaged over iter_size.")
      .def("apply_update", &Solver::apply_update, py::call_guard<py::gil_scoped_release>(),
           "Second half: the update.")
      .def("run", &run, arg("count"), arg("seconds") = 1e30, arg("on_gradients") = nullptr,
           "Whole iterations, at most `count`, for about `seconds`: (losses, stopped, diverged). "
           "on_gradients: called in each between gradients and update, may read and change diffs; "
           "what it raises ends the run before that update.")
      .def("follow", &Solver::follow, py::call_guard<py::gil_scoped_release>(),
           "For other ranks than 0: makes the iterations that rank 0 begins, until it ends.")
      .def("request_stop", &Solver::request_stop,
           "Makes a run end after its current iteration; callable from a signal handler.")
      .def("restore", &Solver::restore, arg("iteration"), arg("current_step") = 0,
           "Goes on from a snapshot.")
      .def_property_readonly("iteration", &Solver::iteration, "Updates made so far.")
      .def_property_readonly("current_step", &Solver::current_step,
                             "Steps that step and multistep have taken.")
      .def_property_readonly("schedule", &Solver::schedule,
                             "Its Schedule, for iterations before and after; not to be restored.")
      .def_property_readonly("lr", &Solver::lr, "Of the next update.")
      .def_property_readonly("momentum", &Solver::momentum, "Of the next update.")
      .def_property_readonly("histories", &Solver::histories, "How many each parameter has.")
      .def(
          "history",
          [](Solver& solver, int param, int k) {
            const Net::HostParam history = solver.history(param, k);
            return view(history.tensor, keep_alive(history.memory));
          },
          arg("param"), arg("k") = 0,
          "History k of one learnable parameter (Net.learnable()): a writable view.");
}

}  // namespace pcc
