// Philox against the published vectors, and the streams made of it.
#include <cmath>
#include <set>

#include "core/random.h"
#include "testing.h"

namespace {

using pcc::RandomStream;
using Block = std::array<uint32_t, 4>;

// Known answers for philox4x32-10 that come with the paper's code.
TEST(philox_known_answers) {
  CHECK_EQ(pcc::philox({0, 0, 0, 0}, {0, 0}),
           (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t ones = 0xffffffff;
  CHECK_EQ(pcc::philox({ones, ones, ones, ones}, {ones, ones}),
           (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  CHECK_EQ(pcc::philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
           (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(streams_differ_in_every_key) {
  const RandomStream base{1, 2, 3, 4};
  std::set<uint32_t> first;
  first.insert(base.bits(0));
  for (const RandomStream& other :
       {RandomStream{2, 2, 3, 4}, RandomStream{1, 3, 3, 4}, RandomStream{1, 2, 4, 4},
        RandomStream{1, 2, 3, 5}, RandomStream{uint64_t{1} << 40, 2, 3, 4},
        RandomStream{1, 2, 3, uint64_t{1} << 40}})
    first.insert(other.bits(0));
  CHECK_EQ(first.size(), 7);
}

TEST(elements_are_addressable) {
  const RandomStream stream{5, 0, 9, 2};
  for (uint64_t i = 0; i < 12; ++i) CHECK_EQ(stream.bits(i), stream.block(i / 4)[i % 4]);
}

TEST(a_share_has_the_numbers_of_its_place) {
  const RandomStream whole{5, 0, 9, 2};
  for (uint64_t first = 0; first < 9; ++first) {
    RandomStream share = whole;
    share.first = first;
    for (uint64_t i = 0; i < 12; ++i) {
      CHECK_EQ(share.bits(i), whole.bits(first + i));
      CHECK_EQ(share.block(i / 4)[i % 4], whole.bits(first + i));
    }
  }
}

TEST(uniform_moments) {
  const RandomStream stream{42, 0, 1, 0};
  const int count = 100000;
  double sum = 0, squares = 0;
  for (int i = 0; i < count; ++i) {
    const double u = stream.uniform(static_cast<uint64_t>(i));
    CHECK(u >= 0 && u < 1);
    sum += u;
    squares += u * u;
  }
  CHECK_NEAR(sum / count, 0.5, 0.004);
  CHECK_NEAR(squares / count, 1.0 / 3, 0.004);
}

TEST(normal_moments) {
  const RandomStream stream{42, 0, 1, 0};
  const int count = 100000;
  double sum = 0, squares = 0, fourth = 0, neighbours = 0, last = 0;
  for (int i = 0; i < count; ++i) {
    const double z = stream.normal(static_cast<uint64_t>(i));
    CHECK(std::isfinite(z));
    sum += z;
    squares += z * z;
    fourth += z * z * z * z;
    neighbours += z * last;
    last = z;
  }
  CHECK_NEAR(sum / count, 0, 0.015);
  CHECK_NEAR(squares / count, 1, 0.02);
  CHECK_NEAR(fourth / count, 3, 0.15);
  CHECK_NEAR(neighbours / count, 0, 0.015);
}

TEST(hash_is_fnv_1a) {
  CHECK_EQ(pcc::hash_name(""), 2166136261u);
  CHECK_EQ(pcc::hash_name("a"), 0xe40c292cu);
  CHECK_EQ(pcc::hash_name("foobar"), 0xbf9cf968u);
}

}  // namespace
