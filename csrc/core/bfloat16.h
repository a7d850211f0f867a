// bfloat16: the upper half of a float, for storage. Sums and products are made in float.
#pragma once

#include <cstdint>
#include <cstring>

namespace pcc {

struct BFloat16 {
  uint16_t bits = 0;

  BFloat16() = default;
  // Rounds to the nearest, halfway to even; NaN stays NaN.
  explicit BFloat16(float value) {
    uint32_t whole;
    std::memcpy(&whole, &value, sizeof(whole));
    const bool is_nan = (whole & 0x7FFFFFFFu) > 0x7F800000u;
    bits = static_cast<uint16_t>(is_nan ? (whole >> 16) | 0x40u
                                        : (whole + 0x7FFFu + ((whole >> 16) & 1u)) >> 16);
  }
  explicit BFloat16(double value) : BFloat16(static_cast<float>(value)) {}
  operator float() const {
    const uint32_t whole = uint32_t{bits} << 16;
    float value;
    std::memcpy(&value, &whole, sizeof(value));
    return value;
  }
};

}  // namespace pcc
