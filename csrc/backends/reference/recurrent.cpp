// LSTM, RNN and the LSTM's single step.
#include "ops/recurrent.h"

#include "backends/reference/matrix.h"
#include "backends/reference/reference_op.h"

namespace pcc::reference {
namespace {

template <typename T>
struct Product {
  void operator()(int64_t m, int64_t n, int64_t k, const T* a, int64_t a_row, int64_t a_column,
                  const T* b, int64_t b_row, int64_t b_column, T* c, bool add) const {
    multiply_parallel<T>(m, n, k, {a, a_row, a_column}, {b, b_row, b_column}, c, n, add);
  }
};

template <typename T>
class Recurrent : public RecurrentSteps<T, Product<T>> {
 public:
  Recurrent(const RecurrentDesc& desc, const OpSite& site)
      : RecurrentSteps<T, Product<T>>(desc, site, Product<T>()) {}
  std::string implementation() const override { return "matrix product"; }
};

template <typename T>
class LstmUnit : public ReferenceOp<T> {
 public:
  LstmUnit(const LstmUnitDesc&, const OpSite& site)
      : ReferenceOp<T>(site), batch_(site.in[0].shape[1]), hidden_(site.in[0].shape[2]) {}

  void forward(const Context&) override {
    for_each(batch_ * hidden_, [this](int64_t at) {
      const LstmElement<T> cell = element(at);
      this->out(0)[at] = cell.c;
      this->out(1)[at] = cell.h();
    });
  }

 protected:
  void backward_needs(OpNeeds& needs) const override {
    needs.in = this->all_ins();
    needs.backward_scratch = 5 * batch_ * hidden_ * static_cast<int64_t>(sizeof(T));
  }
  void differentiate(const Context&) override {
    T* const scratch = static_cast<T*>(this->buffers_.backward_scratch);
    T* const du = this->din(1) ? this->din(1) : scratch;
    T* const dc = this->din(0) ? this->din(0) : scratch + 4 * batch_ * hidden_;
    for_each(batch_ * hidden_, [=, this](int64_t at) {
      const auto given = [=, this](int i) { return this->dout(i) ? this->dout(i)[at] : T(0); };
      dc[at] = element(at).pull(given(1), given(0), hidden_, du + gate(at));
    });
  }

 private:
  int64_t gate(int64_t at) const { return at / hidden_ * 4 * hidden_ + at % hidden_; }
  LstmElement<T> element(int64_t at) const {
    return {this->in(1) + gate(at), hidden_, this->in(2)[at / hidden_], this->in(0)[at]};
  }
  int64_t batch_, hidden_;
};

}  // namespace

PCC_REFERENCE_OP(RecurrentDesc, Recurrent)
PCC_REFERENCE_OP(LstmUnitDesc, LstmUnit)

}  // namespace pcc::reference
