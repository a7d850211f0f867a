// Nets are independent: two of them run in two threads of the caller's at once.
#include <thread>

#include "core/parallel.h"
#include "net_text.h"
#include "testing.h"

namespace pcc {
namespace {

// Losses and gradients of a few passes, from the making of the net on.
std::vector<Values> history(const std::string& backend, bool fuse, uint64_t seed) {
  const auto net = ready(small_net(6), net_on(backend, fuse));
  draw_params(*net, seed);
  std::vector<Values> all;
  for (int i = 0; i < 5; ++i) {
    all.push_back({pass(*net)});
    for (const int p : net->learnable())
      all.push_back(values_of(net->params()[static_cast<size_t>(p)].diff));
  }
  return all;
}

TEST(two_nets_in_two_threads_compute_what_each_does_alone) {
  for (const std::string& backend : backend_names())
    for (const bool fuse : {false, true}) {
      const std::vector<Values> one = history(backend, fuse, 5), two = history(backend, fuse, 6);
      CHECK(one != two);
      for (int round = 0; round < 5; ++round) {
        std::vector<Values> beside;
        std::thread other([&] { beside = history(backend, fuse, 6); });
        const std::vector<Values> here = history(backend, fuse, 5);
        other.join();
        CHECK(here == one);
        CHECK(beside == two);
      }
    }
}

}  // namespace
}  // namespace pcc
