// The inner loops of the CPU backend's own kernels, as tables of functions: each is compiled once
// per instruction set, and which table is used is decided at run time. They work on one thread and
// know nothing of ops; sizes are in elements.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backends/cpu/kernels/element_loops.h"
#include "backends/cpu/kernels/lrn_loops.h"
#include "backends/cpu/kernels/update_loops.h"

namespace pcc::cpu {

// Where the numbers of eight or sixteen channels lie (layouts c8, c16, nhwc), or those of one
// channel (plain, where the lanes of a vector are neighbours in the plane): rows of `steps` steps;
// in each step `vectors` (1 or 2) vectors of 8 floats, the last with `part` lanes. Bit masks have
// one byte per vector.
struct NormView {
  int64_t rows, row_stride, steps, step_stride;
  int64_t bits_row_stride, bits_step_stride;
  int vectors, part;
};

// y = relu((x - mean) * gain + shift), lane by lane.
struct NormLanes {
  float mean[16], gain[16], shift[16];
  float slope;
  bool relu;
};

// How backward knows what the ReLU let pass: there is none, by computing y's sign again from x, or
// by stored bits.
enum class Passed { all, sign, bits };

struct NormLoops {
  // sum[l] += x - pivot[l]; squares[l] += (x - pivot[l])^2, over all rows and steps.
  void (*moments)(const NormView&, const float* x, const float* pivot, double* sum,
                  double* squares);
  // addend, bits: null: none. bits: set where y > 0 before the ReLU.
  void (*forward)(const NormView&, const NormLanes&, const float* x, const float* addend, float* y,
                  uint8_t* bits);
  // With g = the sum of the parts of dy behind the ReLU: dshift[l] += g; dgain[l] += g * (x -
  // mean[l]). Writes g where store is not null.
  void (*backward_sums)(const NormView&, const NormLanes&, Passed, const float* x,
                        const uint8_t* bits, const float* const* dy, int parts, float* store,
                        double* dshift, double* dgain);
  // dx = scale * g + slant * (x - mean) + offset, with g as above from one part. dx may be dy.
  void (*backward_data)(const NormView&, const NormLanes&, Passed, const float* x,
                        const uint8_t* bits, const float* dy, const float* scale,
                        const float* slant, const float* offset, float* dx);
  // PReLU: y = x > 0 ? x : slope[l] * x.
  void (*prelu)(const NormView&, const float* slope, const float* x, float* y);
  // With g = the sum of the parts of dy: dslope[l] += x > 0 ? 0 : g * x; dx (null: not wanted) =
  // x > 0 ? g : slope[l] * g.
  void (*prelu_backward)(const NormView&, const float* slope, const float* x,
                         const float* const* dy, int parts, float* dx, double* dslope);
};

struct Loops {
  const char* isa;  // "baseline", "avx2", "avx512"
  NormLoops norm;
  ElementLoops element;
  LrnLoops lrn;
  UpdateLoops update;
};

// The table in use: the best for this processor, or what select_loops chose. An op keeps what it
// found when it was made.
const Loops& loops();
// Whether that is one of AVX2 or more.
bool has_vectors();
// The instruction sets of this build that this processor has and ONEDNN_MAX_CPU_ISA allows,
// plainest first.
std::vector<std::string> loop_isas();
// For tests and comparisons. Throws a config error for an instruction set that is not in
// loop_isas().
void select_loops(const std::string& isa);

}  // namespace pcc::cpu
