// Work of a backward call that goes on beside the calls after it: what it reads is left alone for
// as long as the op says.
#include <cstring>

#include "net_text.h"
#include "testing.h"
#include "wrapped.h"

namespace pcc {
namespace {

// What ops may still be reading, as it was when they began.
struct Reading {
  const void* from;
  std::vector<char> was;
  int calls;  // that it goes on for
};
std::vector<Reading> readings;
int spoilt = 0;  // readings that found something else

void read_on() {
  for (Reading& reading : readings) {
    spoilt += std::memcmp(reading.from, reading.was.data(), reading.was.size()) != 0;
    --reading.calls;
  }
  std::erase_if(readings, [](const Reading& reading) { return reading.calls == 0; });
}

// Reads for that many calls after its own; whether it says so is another matter.
class Lagging : public WrappedOp {
 public:
  Lagging(std::unique_ptr<Op> inner, int lag, bool says_so)
      : WrappedOp(std::move(inner)), lag_(lag), says_so_(says_so) {}

  OpNeeds needs() const override {
    OpNeeds needs = inner_->needs();
    if (says_so_) needs.backward_lag = lag_;
    return needs;
  }
  void forward(const Context& context) override {
    WrappedOp::forward(context);
    read_on();
  }

 protected:
  void differentiate(const Context& context) override {
    std::vector<Reading> own;
    const auto read = [&, this](const void* from, int64_t bytes) {
      const char* const begin = static_cast<const char*>(from);
      if (lag_ > 0) own.push_back({from, {begin, begin + bytes}, lag_});
    };
    const OpNeeds needs = inner_->needs();
    for (const std::vector<Tensor>& parts : buffers_.dout)
      for (const Tensor& part : parts) read(part.data, part.spec.bytes());
    for (size_t i = 0; i < needs.in.size(); ++i)
      if (needs.in[i]) read(buffers_.in[i].data, buffers_.in[i].spec.bytes());
    inner_->backward(context);
    read(buffers_.backward_scratch, needs.backward_scratch);
    read_on();
    readings.insert(readings.end(), own.begin(), own.end());
  }

 private:
  int lag_;
  bool says_so_;
};

std::string lagging(const std::string& inner, int lag, bool says_so) {
  return wrapped(
      concat("lag", lag, says_so ? "" : "_unsaid"), inner,
      [=](const Backend& own, const OpDesc& desc, const OpSite& site) -> std::unique_ptr<Op> {
        std::unique_ptr<Op> op = own.make(desc, site);
        if (!op) return nullptr;
        const bool lags = std::holds_alternative<ConvDesc>(desc);
        return std::make_unique<Lagging>(std::move(op), lags ? lag : 0, says_so);
      });
}

std::string block(const std::string& name, const std::string& bottom) {
  return conv_layer(name, bottom, 8, 3) + norm_layers_on(name) +
         layer("ReLU", name + "_relu", name, name);
}

// Two residual blocks.
std::string text() {
  std::string all =
      input_layer("data", {2, 3, 8, 8}) + input_layer("label", {2}) + block("a", "data");
  std::string bottom = "a";
  for (const std::string name : {"b", "c"}) {
    all += block(name + "1", bottom) + block(name + "2", name + "1") + "layer { name: '" + name +
           "' type: 'Eltwise' bottom: '" + bottom + "' bottom: '" + name + "2' top: '" + name +
           "' }";
    bottom = name;
  }
  return all + classifier(bottom, 5);
}

struct Found {
  int spoilt;
  int64_t arena;
  Values diff;
};

Found run(const std::string& backend) {
  const auto net = ready(text(), net_on(backend, true));
  net->forward();
  spoilt = 0;
  net->clear_param_diffs();
  net->backward();
  readings.clear();  // all is over at the end of a pass
  return {spoilt, net->plan().arena_bytes(), param_diff(*net, "a", 0)};
}

TEST(what_a_lagging_op_reads_is_left_alone) {
  for (const char* inner : {"reference", "cpu"}) {
    const Found none = run(lagging(inner, 0, true));
    int64_t arena = none.arena;
    for (const int lag : {1, 2, 5, 1000}) {
      // So that there is something to be found.
      const Found unsaid = run(lagging(inner, lag, false));
      CHECK(unsaid.spoilt > 0);
      CHECK_EQ(unsaid.arena, none.arena);
      const Found said = run(lagging(inner, lag, true));
      CHECK_EQ(said.spoilt, 0);
      CHECK(said.arena >= arena);
      CHECK_EQ(said.diff, none.diff);
      arena = said.arena;
    }
    CHECK(arena > none.arena);
  }
}

}  // namespace
}  // namespace pcc
