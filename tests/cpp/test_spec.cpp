// Attributes and schema, shapes, errors and the parallel loop: what everything else stands on.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "core/check.h"
#include "core/parallel.h"
#include "core/spec.h"
#include "core/tensor.h"
#include "testing.h"

namespace {

using pcc::Attributes;
using pcc::FieldInfo;
using pcc::Scalar;
using pcc::Schema;
using pcc::Shape;

// A message type of our own: the names must not meet those of the real schema.
Attributes empty_message() {
  Schema& schema = Schema::global();
  const auto scalar = [&](const char* field, Scalar value, bool repeated = false) {
    schema.add("SpecTest", field, {false, repeated, "", std::move(value)});
  };
  scalar("number", int64_t{3});
  scalar("ratio", 0.5);
  scalar("flag", true);
  scalar("mode", std::string("MAX"));
  scalar("sizes", int64_t{0}, true);
  scalar("weights", 0.0, true);
  scalar("names", std::string(), true);
  schema.add("SpecTest", "inner", {true, false, "SpecTest", int64_t{0}});
  schema.add("SpecTest", "many", {true, true, "SpecTest", int64_t{0}});
  return Attributes("SpecTest");
}

TEST(unset_fields_give_their_defaults) {
  const Attributes a = empty_message();
  CHECK(!a.has("number"));
  CHECK_EQ(a.get_int("number"), 3);
  CHECK_EQ(a.get_double("number"), 3);
  CHECK_EQ(a.get_double("ratio"), 0.5);
  CHECK_EQ(a.get_bool("flag"), true);
  CHECK_EQ(a.get_string("mode"), "MAX");
  CHECK(a.ints("sizes").empty());
  CHECK_EQ(a.size("sizes"), 0);
  CHECK(a.subs("many").empty());
}

TEST(set_fields_win_over_defaults) {
  Attributes a = empty_message();
  a.set("number", int64_t{7});
  a.set("flag", false);
  a.set("mode", std::string("AVE"));
  for (const int64_t size : {4, 5}) a.append("sizes", size);
  a.append("weights", 1.5);
  a.append("names", std::string("conv1"));
  CHECK(a.has("number"));
  CHECK_EQ(a.get_int("number"), 7);
  CHECK_EQ(a.get_bool("flag"), false);
  CHECK_EQ(a.get_string("mode"), "AVE");
  CHECK_EQ(a.ints("sizes"), (std::vector<int64_t>{4, 5}));
  CHECK_EQ(a.doubles("sizes"), (std::vector<double>{4, 5}));
  CHECK_EQ(a.doubles("weights"), (std::vector<double>{1.5}));
  CHECK_EQ(a.strings("names"), (std::vector<std::string>{"conv1"}));
}

// proto2: set to the default is still set.
TEST(set_to_the_default_counts_as_set) {
  Attributes a = empty_message();
  a.set("number", int64_t{3});
  CHECK(a.has("number"));
}

TEST(messages_nest) {
  Attributes a = empty_message();
  CHECK_EQ(a.sub("inner").sub("inner").get_int("number"), 3);
  CHECK(!a.has("inner"));
  a.append_message("inner").append_message("inner").set("number", int64_t{9});
  CHECK(a.has("inner"));
  CHECK_EQ(a.sub("inner").sub("inner").get_int("number"), 9);
  a.append_message("many").set("number", int64_t{1});
  a.append_message("many").set("number", int64_t{2});
  CHECK_EQ(a.subs("many").size(), 2);
  CHECK_EQ(a.subs("many")[1]->get_int("number"), 2);
}

TEST(copies_are_deep) {
  Attributes a = empty_message();
  a.append_message("inner").set("number", int64_t{1});
  const Attributes copy = a;
  a = empty_message();
  CHECK_EQ(copy.sub("inner").get_int("number"), 1);
}

TEST(fields_that_nobody_read_are_named) {
  Attributes a = empty_message();
  a.set("number", int64_t{1});
  a.set("ratio", 2.0);
  Attributes& inner = a.append_message("inner");
  inner.set("flag", true);
  inner.set("mode", std::string("MAX"));
  a.append_message("many");
  a.get_int("number");
  a.sub("inner").get_bool("flag");
  const std::vector<std::string> unread = a.unread();
  CHECK_EQ(std::set<std::string>(unread.begin(), unread.end()),
           (std::set<std::string>{"ratio", "inner.mode", "many"}));
}

TEST(misspelt_names_and_wrong_kinds_are_engine_errors) {
  const Attributes a = empty_message();
  CHECK_THROWS_WITH("SpecTest has no field nubmer", a.get_int("nubmer"));
  CHECK_THROWS_WITH("no message SpecTst", Attributes("SpecTst").get_int("number"));
  CHECK_THROWS_WITH("mode is not a number", a.get_double("mode"));
  CHECK_THROWS_WITH("ratio is not an integer", a.get_int("ratio"));
  CHECK_THROWS_WITH("number is not a string", a.get_string("number"));
  try {
    a.get_int("nubmer");
  } catch (const pcc::Error& error) {
    CHECK(error.kind() == pcc::ErrorKind::engine);
  }
}

TEST(titles_say_type_and_place) {
  pcc::LayerSpec spec;
  spec.type = "Convolution";
  spec.name = "conv1";
  CHECK_EQ(spec.title(), "layer 'conv1' (Convolution)");
  spec.where = "net.prototxt:12";
  CHECK_EQ(spec.title(), "layer 'conv1' (Convolution, net.prototxt:12)");
}

TEST(shapes) {
  const Shape shape{2, 3, 4};
  CHECK_EQ(shape.count(), 24);
  CHECK_EQ(shape.count(1), 12);
  CHECK_EQ(shape.count(1, 2), 3);
  CHECK_EQ(shape.count(3), 1);
  CHECK_EQ(Shape{}.count(), 1);
  CHECK_EQ(shape.canonical(-1), 2);
  CHECK_EQ(shape.canonical(2), 2);
  CHECK_EQ(shape.canonical(3), -1);
  CHECK_EQ(shape.canonical(-4), -1);
  CHECK_EQ(shape.str(), "2x3x4");
  CHECK_EQ(Shape{}.str(), "scalar");
}

TEST(errors_carry_their_kind_and_parts) {
  try {
    PCC_DATA(false, "record ", 7, " of '", "db", "'");
    CHECK(false);
  } catch (const pcc::Error& error) {
    CHECK(error.kind() == pcc::ErrorKind::data);
    CHECK_EQ(std::string(error.what()), "record 7 of 'db'");
  }
}

TEST(parallel_covers_every_item_once) {
  const int before = pcc::threads();
  for (const int threads : {1, 2, 3, 7}) {
    pcc::set_threads(threads);
    for (const int64_t count : {0, 1, 2, 5, 100, 1001}) {
      std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
      std::atomic<bool> sane{true};
      pcc::parallel(count, 10, [&](int64_t begin, int64_t end, int thread) {
        sane = sane && thread >= 0 && thread < threads && begin < end;
        for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
      });
      CHECK(sane);
      for (const auto& times : seen) CHECK_EQ(times.load(), 1);
    }
  }
  pcc::set_threads(before);
}

TEST(parallel_inside_parallel_runs_in_place) {
  std::atomic<int64_t> total{0};
  pcc::parallel(4, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i)
      pcc::parallel(10, 1, [&](int64_t b, int64_t e, int) { total += e - b; });
  });
  CHECK_EQ(total.load(), 40);
}

// Ranges of a loop that could be cut into any number, when called from here.
int ranges() {
  std::atomic<int> count{0};
  pcc::parallel(1000, 1, [&](int64_t, int64_t, int) { ++count; });
  return count;
}

TEST(the_number_of_threads_is_that_of_the_process) {
  const int before = pcc::threads();
  pcc::set_threads(3);
  std::thread([] {
    CHECK_EQ(pcc::threads(), 3);
    CHECK_EQ(ranges(), 3);
    pcc::set_threads(2);
  }).join();
  CHECK_EQ(pcc::threads(), 2);
  CHECK_EQ(ranges(), 2);
  pcc::set_threads(before);
}

TEST(a_scope_of_threads_holds_in_its_thread_alone) {
  const int before = pcc::threads();
  pcc::set_threads(2);
  {
    const pcc::ThreadScope outer(4);
    CHECK_EQ(ranges(), 4);
    {
      const pcc::ThreadScope inner(1);
      CHECK_EQ(ranges(), 1);
    }
    std::thread([] { CHECK_EQ(ranges(), 2); }).join();
    CHECK_EQ(ranges(), 4);
    pcc::set_threads(3);
    CHECK_EQ(ranges(), 4);
  }
  CHECK_EQ(ranges(), 3);
  pcc::set_threads(before);
}

TEST(a_forked_child_has_one_thread) {
  const int before = pcc::threads();
  pcc::set_threads(3);
  CHECK_EQ(ranges(), 3);
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);  // instead of waiting for ever
    const pcc::ThreadScope scope(3);
    _exit(ranges() == 1 && pcc::threads() == 1 ? 0 : 1);
  }
  int status = -1;
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK_EQ(status, 0);
  CHECK_EQ(ranges(), 3);
  pcc::set_threads(before);
}

TEST(threads_are_at_least_one) {
  const int before = pcc::threads();
  pcc::set_threads(0);
  CHECK_EQ(pcc::threads(), 1);
  pcc::set_threads(before);
}

}  // namespace
