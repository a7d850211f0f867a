// The counter of allocations: what it sees, and that it leaves everything as it was.
#include "core/allocations.h"

#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <thread>

#include "testing.h"

namespace pcc {
namespace {

// Nothing that the compiler may leave out.
void* volatile kept;

int64_t calls_of(const std::function<void()>& work) {
  const std::optional<Allocations> made = count_allocations(work);
  if (!made) throw testing::Skipped{"this system does not let us count"};
  return made->calls;
}

TEST(no_work_makes_no_allocations) {
  CHECK_EQ(calls_of([] { kept = nullptr; }), 0);
}

TEST(every_kind_is_counted) {
  CHECK_EQ(calls_of([] {
             kept = std::malloc(10);
             kept = std::realloc(kept, 20);
             std::free(kept);
           }),
           2);
  CHECK_EQ(calls_of([] {
             kept = std::calloc(3, 10);
             std::free(kept);
             kept = std::aligned_alloc(64, 128);
             std::free(kept);
           }),
           2);
  CHECK_EQ(calls_of([] { kept = std::make_unique<int>(3).get(); }), 1);
  CHECK_EQ(calls_of([] {
             struct alignas(64) Line {
               char bytes[64];
             };
             kept = std::make_unique<Line>().get();
             kept = std::make_unique<char[]>(30).get();
           }),
           2);
}

TEST(bytes_and_callers_are_told) {
  calls_of([] {});  // skips where there is no counter
  const auto made = count_allocations([] {
    for (int i = 0; i < 3; ++i) {
      kept = std::malloc(static_cast<size_t>(100 * (i + 1)));
      std::free(kept);
    }
  });
  CHECK_EQ(made->bytes, 600);
  CHECK_EQ(made->largest, 300);
  REQUIRE(made->from.size() == 1);
  CHECK_EQ(made->from[0].calls, 3);
}

TEST(other_threads_and_libraries_are_seen) {
  // The thread's state is allocated here, and its stack by the C library.
  CHECK(calls_of([] { std::thread([] { kept = std::make_unique<int>(3).get(); }).join(); }) >= 2);
  // Inside libstdc++: too long to be kept in the string itself.
  CHECK(calls_of([] {
          std::string text = "a";
          for (int i = 0; i < 100; ++i) text.append("long");
          kept = text.data();
        }) >= 1);
}

TEST(a_count_ends_with_its_work) {
  calls_of([] {});
  bool thrown = false;
  try {
    count_allocations([] { throw std::runtime_error("work failed"); });
  } catch (const std::runtime_error&) {
    thrown = true;
  }
  CHECK(thrown);
  kept = std::malloc(10);
  std::free(kept);
  CHECK_EQ(calls_of([] {}), 0);
}

}  // namespace
}  // namespace pcc
