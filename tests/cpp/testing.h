// A small test harness: TEST(name) { CHECK_EQ(a, b); ... }, one program per test file.
//
// A failed CHECK prints file:line and the values and lets the test go on; REQUIRE ends the test.
// The program takes parts of test names as arguments and runs only those that match.
#pragma once

#include <cmath>
#include <cstdint>
#include <exception>
#include <iomanip>
#include <limits>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>

namespace testing {

using TestFunction = void (*)();

// Adds a test to the program; called before main by TEST.
bool add_test(const char* name, TestFunction function);

// Counts and prints one failed check.
void fail(const char* file, int line, const std::string& what);

// Thrown by REQUIRE and SKIP to leave the test.
struct Stop {};
struct Skipped {
  std::string why;
};

// A value as text: all digits of a number, quotes around strings, "?" for what cannot be printed.
template <typename T>
std::string show(const T& value) {
  std::ostringstream out;
  if constexpr (std::is_same_v<T, bool>) {
    out << (value ? "true" : "false");
  } else if constexpr (std::is_enum_v<T>) {
    out << static_cast<int64_t>(value);
  } else if constexpr (std::is_same_v<T, int8_t> || std::is_same_v<T, uint8_t>) {
    out << static_cast<int>(value);
  } else if constexpr (std::is_floating_point_v<T>) {
    out << std::setprecision(std::numeric_limits<T>::max_digits10) << value;
  } else if constexpr (std::is_convertible_v<const T&, std::string>) {
    out << '"' << std::string(value) << '"';
  } else if constexpr (requires { value.begin() != value.end(); }) {
    out << '{';
    const char* comma = "";
    for (const auto& each : value) {
      out << comma << show(each);
      comma = ", ";
    }
    out << '}';
  } else if constexpr (requires { out << value; }) {
    out << value;
  } else {
    out << '?';
  }
  return out.str();
}

template <typename T>
constexpr bool is_whole = std::is_integral_v<T> && !std::is_same_v<T, bool>;

// Equality without the trap of comparing signed with unsigned.
template <typename A, typename B>
bool equal(const A& a, const B& b) {
  if constexpr (is_whole<A> && is_whole<B>) {
    using Wide = std::common_type_t<A, B>;
    return (a < 0) == (b < 0) && static_cast<Wide>(a) == static_cast<Wide>(b);
  } else {
    return a == b;
  }
}

}  // namespace testing

#define TEST(name)                                                                           \
  static void test_##name();                                                                 \
  [[maybe_unused]] static const bool added_##name = ::testing::add_test(#name, test_##name); \
  static void test_##name()

#define CHECK(condition)                                               \
  do {                                                                 \
    if (!(condition)) ::testing::fail(__FILE__, __LINE__, #condition); \
  } while (false)

#define REQUIRE(condition)                             \
  do {                                                 \
    if (!(condition)) {                                \
      ::testing::fail(__FILE__, __LINE__, #condition); \
      throw ::testing::Stop();                         \
    }                                                  \
  } while (false)

#define CHECK_EQ(a, b)                                                                   \
  do {                                                                                   \
    const auto check_a = (a); /* copies: (a) may be part of a temporary */               \
    const auto check_b = (b);                                                            \
    if (!::testing::equal(check_a, check_b))                                             \
      ::testing::fail(__FILE__, __LINE__,                                                \
                      #a " == " #b ": got " + ::testing::show(check_a) + ", expected " + \
                          ::testing::show(check_b));                                     \
  } while (false)

// Absolute difference of at most `tolerance`; a NaN on either side fails.
#define CHECK_NEAR(a, b, tolerance)                                                          \
  do {                                                                                       \
    const double check_a = (a), check_b = (b), check_t = (tolerance);                        \
    if (!(std::abs(check_a - check_b) <= check_t))                                           \
      ::testing::fail(__FILE__, __LINE__,                                                    \
                      #a " near " #b ": got " + ::testing::show(check_a) + ", expected " +   \
                          ::testing::show(check_b) + " within " + ::testing::show(check_t)); \
  } while (false)

// Like CHECK_NEAR, with the tolerance relative to the larger of |b| and 1.
#define CHECK_CLOSE(a, b, tolerance)                                           \
  do {                                                                         \
    const double close_b = (b);                                                \
    CHECK_NEAR((a), close_b, (tolerance) * std::fmax(1.0, std::abs(close_b))); \
  } while (false)

#define CHECK_THROWS(...) CHECK_THROWS_WITH("", __VA_ARGS__)

// The statement must throw a std::exception whose message contains `part`.
#define CHECK_THROWS_WITH(part, ...)                                                               \
  do {                                                                                             \
    const std::string check_part = (part);                                                         \
    std::string check_message;                                                                     \
    bool check_thrown = false;                                                                     \
    try {                                                                                          \
      static_cast<void>(__VA_ARGS__);                                                              \
    } catch (const std::exception& error) {                                                        \
      check_thrown = true;                                                                         \
      check_message = error.what();                                                                \
    }                                                                                              \
    if (!check_thrown) {                                                                           \
      ::testing::fail(__FILE__, __LINE__, #__VA_ARGS__ " should have thrown");                     \
    } else if (check_message.find(check_part) == std::string::npos) {                              \
      ::testing::fail(__FILE__, __LINE__,                                                          \
                      #__VA_ARGS__ " threw " + ::testing::show(check_message) + ", which lacks " + \
                          ::testing::show(check_part));                                            \
    }                                                                                              \
  } while (false)

// Leaves the test as skipped, with a reason that the summary prints.
#define SKIP(why) \
  throw ::testing::Skipped { why }
