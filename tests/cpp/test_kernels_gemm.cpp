// Matrix products of the CPU backend: edges of panels and blocks, every order of the weights.
#include "core/parallel.h"
#include "kernel_cases.h"

namespace pcc {
namespace {

OpCase product(int64_t m, int64_t k, int64_t n, bool transpose, bool bias) {
  OpCase op;
  op.desc = GemmDesc{m, k, n, transpose, bias};
  op.in = {{m, k}};
  op.out = {{m, n}};
  op.params = {transpose ? Shape{k, n} : Shape{n, k}};
  if (bias) op.params.push_back({n});
  return op;
}

TEST(products_of_all_sizes) {
  set_threads(1);
  // Around the rows and columns that are worked on at once (6 or 12, 8 to 32), and one or two rows.
  const int64_t sizes[][3] = {{1, 1, 1},   {1, 70, 19}, {2, 131, 5}, {3, 7, 8},    {5, 9, 31},
                              {6, 16, 16}, {7, 33, 17}, {12, 8, 32}, {13, 40, 33}, {25, 12, 70}};
  for (const auto& [m, k, n] : sizes)
    for (const bool transpose : {false, true})
      for (const bool bias : {false, true}) check_kernels(product(m, k, n, transpose, bias), 2e-6);
}

// More terms than one block of a sum has: in y, in dx and in dw.
TEST(long_sums_are_made_of_blocks) {
  set_threads(1);
  for (const bool transpose : {false, true}) {
    check_kernels(product(8, 1100, 20, transpose, true), 1e-5);
    check_kernels(product(8, 20, 1100, transpose, true), 1e-5);
    check_kernels(product(401, 19, 21, transpose, true), 1e-5);
  }
}

TEST(the_cut_among_threads_does_not_show) {
  for (const std::string& isa : cpu::loop_isas()) {
    cpu::select_loops(isa);
    // Cut by columns, by rows, and two rows alone.
    for (const OpCase& op : {product(64, 300, 210, false, true), product(800, 700, 10, true, true),
                             product(2, 4000, 400, false, true)}) {
      set_threads(1);
      const OpResult one = run_op(op, "cpu", DType::f32);
      for (const int count : {2, 3}) {
        set_threads(count);
        const OpResult some = run_op(op, "cpu", DType::f32);
        CHECK_EQ(some.out[0], one.out[0]);
        CHECK_EQ(some.din[0], one.din[0]);
        CHECK_EQ(some.dparams[0], one.dparams[0]);
        CHECK_EQ(some.dparams[1], one.dparams[1]);
      }
    }
  }
  set_threads(1);
}

}  // namespace
}  // namespace pcc
