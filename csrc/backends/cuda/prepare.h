// Weights in the forms that convolutions want them in, those of all convolutions of a net at once.
#pragma once

#include <cstdint>
#include <vector>

namespace pcc::cuda {

// Weights (maps, channels, side, side) of one convolution; to: those for forward, if wanted, and
// behind them those for the data gradient (tensor_conv.h).
struct Preparation {
  const float* w = nullptr;
  uint32_t* to = nullptr;
  int maps = 0, channels = 0;
  int8_t side = 1;
  bool bf16 = false, forward = false, data = false;
};

// While it lives, what this thread's ops ask to have prepared is gathered, for few launches.
class Preparations {
 public:
  Preparations();
  ~Preparations();
  Preparations(const Preparations&) = delete;
  Preparations& operator=(const Preparations&) = delete;
  void make();  // whatever there is

 private:
  friend void prepare(const Preparation& preparation);
  Preparations* before_;
  std::vector<Preparation> gathered_;
};

// At once, where nothing gathers it.
void prepare(const Preparation& preparation);
// Words (of 32 bits) of what is prepared.
int64_t prepared_words(const Preparation& preparation);

}  // namespace pcc::cuda
