#include "testing.h"

#include "backends/cuda/host/host.h"
#include "guarded.h"

#include <chrono>
#include <cstdio>
#include <cstring>
#include <vector>

namespace testing {
namespace {

struct Test {
  const char* name;
  TestFunction function;
};

// A function's static: tests add themselves before this file's globals would exist.
std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

int failures = 0;

bool wanted(const Test& test, int count, char** parts) {
  if (count == 0) return true;
  for (int i = 0; i < count; ++i) {
    if (std::strstr(test.name, parts[i])) return true;
  }
  return false;
}

// Runs one test and returns whether it passed.
bool run(const Test& test) {
  const int before = failures;
  const auto start = std::chrono::steady_clock::now();
  std::string skipped;
  try {
    test.function();
  } catch (const Stop&) {
  } catch (const Skipped& skip) {
    skipped = "skipped: " + skip.why;
  } catch (const std::exception& error) {
    fail(test.name, 0, std::string("threw ") + error.what());
  } catch (...) {
    fail(test.name, 0, "threw something that is no std::exception");
  }
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  const bool passed = failures == before;
  std::printf("%-7s %s (%.2f s) %s\n", passed ? "ok" : "FAILED", test.name, time.count(),
              skipped.c_str());
  std::fflush(stdout);
  return passed;
}

}  // namespace

bool add_test(const char* name, TestFunction function) {
  tests().push_back({name, function});
  return true;
}

void fail(const char* file, int line, const std::string& what) {
  ++failures;
  std::printf("%s:%d: %s\n", file, line, what.c_str());
}

}  // namespace testing

int main(int argc, char** argv) {
  pcc::register_guarded();
  pcc::register_cuda_host();
  int ran = 0, failed = 0;
  for (const auto& test : testing::tests()) {
    if (!testing::wanted(test, argc - 1, argv + 1)) continue;
    ++ran;
    if (!testing::run(test)) ++failed;
  }
  std::printf("%d of %d tests passed\n", ran - failed, ran);
  if (ran == 0) std::printf("no test matches\n");
  return failed > 0 || ran == 0 ? 1 : 0;
}
