// How the CUDA backend chooses among the ways of a convolution: by measurement, from a file that
// may be broken or unwritable, by a word in the environment.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "backends/cuda/choices.h"
#include "backends/cuda/host/modes.h"
#include "conv_cases.h"
#include "testing.h"

using namespace pcc;
using cuda::Choices;
namespace fs = std::filesystem;

namespace {

// A folder that is gone at the end.
struct Folder {
  fs::path path;
  Folder() {
    std::string name = (fs::temp_directory_path() / "choices-XXXXXX").string();
    path = mkdtemp(name.data());
  }
  ~Folder() { fs::remove_all(path); }
};

std::string content(const fs::path& file) {
  std::ifstream stream(file);
  return {std::istreambuf_iterator<char>(stream), {}};
}

// Ways that take so many seconds, the first of each run much longer; how often they ran.
struct Ways {
  std::vector<int> runs;
  std::vector<std::function<double()>> list;

  explicit Ways(const std::vector<double>& seconds) : runs(seconds.size()) {
    for (size_t i = 0; i < seconds.size(); ++i)
      list.push_back([this, i, time = seconds[i]] {
        const double noise[] = {100, 1.1, 0.9, 50, 1, 1};
        return time * noise[runs[i]++];
      });
  }
};

// For as long as this lives.
struct Variable {
  const char* name;
  Variable(const char* name, const char* value) : name(name) { setenv(name, value, 1); }
  ~Variable() { unsetenv(name); }
};

// A convolution in tf32, with `words` in the environment for how its ways are chosen.
OpResult convolve(const char* word, int64_t samples = 1) {
  const Variable variable("PYCAFFE_CLR_CONVOLUTION", word);
  OpCase op = conv_case({{samples, 8, 5, 5}, 8, two(3), two(1), two(1), two(1)});
  op.precision = Precision::tf32;
  return run_op(op, "cuda_host", DType::f32);
}

// A clock of the device's by which the ways of a step take as long as `seconds` says, in their
// order, the first step's first; how often it was looked at.
std::vector<double> seconds;
size_t looks = 0;
double told() {
  constexpr size_t kLooks = 2 * 6;  // at a way: before and after each run
  static double now = 0;
  if (looks % 2 == 1) now += seconds.at(looks / kLooks);
  ++looks;
  return now;
}

}  // namespace

TEST(the_fastest_is_chosen_wherever_it_stands) {
  for (size_t best = 0; best < 3; ++best) {
    std::vector<double> seconds = {3e-3, 3e-3, 3e-3};
    seconds[best] = 2e-3;
    Ways ways(seconds);
    CHECK_EQ(cuda::fastest(ways.list), best);
    for (const int runs : ways.runs) CHECK_EQ(runs, 6);
  }
  Ways equal({1e-3, 1e-3});
  CHECK_EQ(cuda::fastest(equal.list), size_t{0});
}

TEST(what_is_far_slower_is_soon_left) {
  Ways ways({1e-3, 1.0, 0.5e-3});
  CHECK_EQ(cuda::fastest(ways.list), size_t{2});
  CHECK_EQ(ways.runs[1], 3);
}

TEST(choices_last_and_the_first_one_stays) {
  const Folder folder;
  const fs::path file = folder.path / "new" / "choices";
  Choices one(file), other(file);
  CHECK(!one.find("a"));
  CHECK(!other.find("a"));
  CHECK_EQ(one.settle("a", "tensor"), "tensor");
  CHECK_EQ(other.settle("b", "plain"), "plain");
  // Measured at the same time, and otherwise.
  CHECK_EQ(other.settle("a", "plain"), "tensor");
  CHECK_EQ(*other.find("a"), "tensor");
  Choices later(file);
  CHECK_EQ(*later.find("a"), "tensor");
  CHECK_EQ(*later.find("b"), "plain");
  CHECK_EQ(later.take_remark(), "");
}

TEST(a_broken_file_is_ignored_and_written_anew) {
  const Folder folder;
  const fs::path file = folder.path / "choices";
  Choices(file).settle("a", "tensor");
  const std::string good = content(file);
  const size_t size = good.size();
  for (const std::string& broken :
       {good.substr(0, size - 1), good.substr(0, size - 8), good + "no tab\n", good + "\t\n",
        std::string("\0\1\2", 3), std::string()}) {
    std::ofstream(file) << broken;
    Choices choices(file);
    CHECK(!choices.find("a"));
    CHECK_EQ(choices.settle("b", "plain"), "plain");
    const std::string remark = choices.take_remark();
    CHECK(remark.find("is broken and ignored") != std::string::npos);
    CHECK_EQ(choices.take_remark(), "");
    CHECK_EQ(*Choices(file).find("b"), "plain");
  }
}

TEST(a_file_that_cannot_be_written_is_said_once) {
  const Folder folder;
  std::ofstream(folder.path / "file") << "no folder";
  Choices choices(folder.path / "file" / "choices");
  for (const char* key : {"a", "b"}) {
    CHECK(!choices.find(key));
    CHECK_EQ(choices.settle(key, "tensor"), "tensor");
    CHECK_EQ(*choices.find(key), "tensor");
  }
  CHECK(choices.take_remark().find("cannot be written") != std::string::npos);
  CHECK_EQ(choices.take_remark(), "");
  Choices nowhere("");
  CHECK_EQ(nowhere.settle("a", "tensor"), "tensor");
  CHECK_EQ(*nowhere.find("a"), "tensor");
  CHECK_EQ(nowhere.take_remark(), "");
}

TEST(a_word_forces_a_way_where_there_is_one) {
  const std::pair<const char*, const char*> made[] = {
      {"", "cuda tensor"},       {"first", "cuda tensor"}, {"tensor", "cuda tensor"},
      {"matmul", "cuda matmul"}, {"plain", "cuda plain"},  {"cudnn", "cuda tensor"}};
  for (const auto& [word, ways] : made) CHECK_EQ(convolve(word).implementation, ways);
  CHECK_THROWS_WITH("known: first, measured, cudnn, tensor, matmul, plain", convolve("fast"));
}

TEST(each_step_takes_the_way_that_is_the_fastest) {
  const Folder cache;
  const Variable place("XDG_CACHE_HOME", cache.path.c_str());
  const fs::path file = cache.path / "pycaffe_clr" / "cuda_choices";
  cuda::host::set_clock(told);
  // Of forward, data, weights, each: tensor, matmul, plain. Each case is of a shape of its own.
  const std::pair<std::vector<double>, const char*> cases[] = {
      {{1, 2, 2, 1, 2, 2, 1, 2, 2}, "cuda tensor"},
      {{2, 1, 2, 2, 1, 2, 2, 1, 2}, "cuda matmul"},
      {{2, 2, 1, 2, 2, 1, 2, 2, 1}, "cuda plain"},
      {{2, 1, 2, 2, 2, 1, 1, 2, 2}, "cuda matmul, data plain, weights tensor"}};
  for (const auto& each : cases) {
    const int64_t samples = 1 + (&each - cases);
    seconds = each.first, looks = 0;
    const OpResult first = convolve("measured", samples);
    CHECK_EQ(first.implementation, each.second);
    CHECK_EQ(looks, size_t{9 * 2 * 6});
    const std::string known = content(file);
    CHECK_EQ(std::count(known.begin(), known.end(), '\n'), 1 + 3 * samples);
    // What is known is not measured again.
    looks = 0;
    const OpResult again = convolve("measured", samples);
    CHECK_EQ(looks, size_t{0});
    CHECK_EQ(again.implementation, first.implementation);
    CHECK(again.out == first.out && again.din == first.din && again.dparams == first.dparams);
    CHECK_EQ(content(file), known);
  }
  cuda::host::set_clock(nullptr);
}
