// Memory and its plan: alignment, no overlap of blocks that live at once, sharing, what is kept.
#include <algorithm>
#include <cstdint>

#include "graph/placement.h"
#include "net_text.h"
#include "testing.h"

namespace pcc {
namespace {

bool aligned(const void* data, uintptr_t to) { return reinterpret_cast<uintptr_t>(data) % to == 0; }

TEST(memory_is_zeroed_and_aligned) {
  for (const int64_t bytes : {int64_t{1}, int64_t{63}, int64_t{4096}, int64_t{3} << 20}) {
    const HostMemory memory(bytes);
    CHECK_EQ(memory.bytes(), bytes);
    CHECK(aligned(memory.data(), bytes >= 2 << 20 ? 2 << 20 : 64));
    CHECK(std::all_of(memory.data(), memory.data() + bytes, [](char c) { return c == 0; }));
  }
  CHECK(HostMemory(0).data() == nullptr);
}

TEST(more_memory_than_there_is_is_an_error) {
  CHECK_THROWS_WITH("out of memory: 1073741824 MiB wanted, ", HostMemory(int64_t{1} << 50));
}

// --- place()

struct Draw {
  explicit Draw(uint64_t seed) { stream.seed = seed; }
  int64_t below(int64_t end) {
    return static_cast<int64_t>(stream.uniform(next++) * static_cast<double>(end));
  }
  RandomStream stream;
  uint64_t next = 0;
};

std::vector<Block> random_blocks(Draw& draw) {
  std::vector<Block> blocks(static_cast<size_t>(1 + draw.below(60)));
  const int64_t steps = 1 + draw.below(40);
  for (Block& block : blocks) {
    block.bytes = draw.below(10) == 0 ? 0 : 1 + draw.below(5000);
    block.first = static_cast<int>(draw.below(steps));
    block.last = block.first + static_cast<int>(draw.below(steps - block.first));
    block.persistent = draw.below(8) == 0;
  }
  return blocks;
}

bool lives_together(const Block& a, const Block& b) {
  if (a.persistent != b.persistent) return false;  // in different memory
  return a.persistent || (a.first <= b.last && b.first <= a.last);
}

bool overlaps(const Block& a, const Block& b) {
  return a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
}

TEST(blocks_that_live_at_once_never_overlap) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    Draw draw(seed);
    std::vector<Block> blocks = random_blocks(draw);
    const Placement sizes = place(blocks);
    int64_t arena_sum = 0, largest = 0;
    for (size_t a = 0; a < blocks.size(); ++a) {
      const Block& block = blocks[a];
      CHECK_EQ(block.offset % 64, int64_t{0});
      CHECK(block.offset >= 0);
      CHECK(block.offset + block.bytes <= (block.persistent ? sizes.persistent : sizes.arena));
      if (!block.persistent) {
        arena_sum += (block.bytes + 63) / 64 * 64;
        largest = std::max(largest, block.bytes);
      }
      for (size_t b = 0; b < a; ++b)
        if (block.bytes && blocks[b].bytes && lives_together(block, blocks[b]))
          CHECK(!overlaps(block, blocks[b]));
    }
    CHECK(sizes.arena <= arena_sum);
    CHECK(sizes.arena >= largest);
  }
}

TEST(blocks_one_after_the_other_share_all_bytes) {
  std::vector<Block> blocks(5);
  for (int i = 0; i < 5; ++i) blocks[static_cast<size_t>(i)] = {640, 2 * i, 2 * i + 1, false, 0};
  CHECK_EQ(place(blocks).arena, int64_t{640});
}

TEST(a_gap_is_filled_before_the_arena_grows) {
  std::vector<Block> blocks{{1024, 0, 1, false, 0},  // is over when the small ones come
                            {1024, 0, 9, false, 0},
                            {512, 2, 9, false, 0},
                            {512, 2, 9, false, 0}};
  CHECK_EQ(place(blocks).arena, int64_t{2048});
}

TEST(a_chain_needs_two_buffers) {
  std::vector<Block> blocks(20);
  for (int i = 0; i < 20; ++i) blocks[static_cast<size_t>(i)] = {640, i, i + 1, false, 0};
  CHECK_EQ(place(blocks).arena, int64_t{1280});
}

// --- plans

std::string deep_net(int depth) {
  std::string text = input_layer("data", {4, 16, 8, 8}) + input_layer("label", {4});
  std::string below = "data";
  for (int i = 0; i < depth; ++i) {
    const std::string name = concat("c", i);
    text += conv_layer(name, below, 16, 3) + norm_layers_on(name) +
            layer("ReLU", name + "_relu", name, name);
    below = name;
  }
  return text + classifier(below, 5);
}

int64_t value_bytes(const Net& net) {
  int64_t bytes = 0;
  for (const Value& value : net.program().values)
    if (!value.gone) bytes += value.shape.count() * size_of(net.options().dtype);
  return bytes;
}

TEST(a_fused_training_net_shares_memory) {
  const auto kept = make_net(deep_net(8)), fused = make_net(deep_net(8), net_on("reference", true));
  // Where every blob is kept, nothing but what ops use among themselves shares memory.
  CHECK(kept->plan().persistent_bytes() >= 2 * value_bytes(*kept));
  CHECK(fused->plan().arena_bytes() < 2 * value_bytes(*fused));
  CHECK(fused->memory_bytes() < kept->memory_bytes() / 3);
}

TEST(a_forward_only_net_needs_memory_for_two_layers) {
  for (const std::string& backend : backend_names()) {
    NetOptions options = net_on(backend, true);
    options.train = false;
    const auto shallow = make_net(deep_net(2), options), deep = make_net(deep_net(8), options);
    CHECK_EQ(deep->plan().arena_bytes(), shallow->plan().arena_bytes());
    CHECK(deep->plan().arena_bytes() < value_bytes(*deep) / 2);
  }
}

TEST(values_and_parameters_lie_on_vector_boundaries) {
  for (const std::string& backend : backend_names()) {
    const auto net = make_net(deep_net(2), net_on(backend, true));
    for (size_t v = 0; v < net->program().values.size(); ++v)
      if (!net->program().values[v].gone)
        CHECK(aligned(net->plan().data(static_cast<int>(v)).data, 64));
    for (const Param& param : net->params()) {
      CHECK(aligned(param.data.data, 64));
      CHECK(aligned(param.diff.data, 64));
    }
  }
}

// In a kept net no pass destroys what another part of it made.
TEST(a_kept_net_has_memory_of_its_own_for_every_value_and_diff) {
  for (const std::string& backend : backend_names()) {
    const auto net = make_net(deep_net(3), net_on(backend));
    std::vector<std::pair<const char*, const char*>> ranges;
    const auto add = [&](const Tensor& tensor) {
      if (!tensor) return;
      const char* begin = tensor.as<char>();
      ranges.emplace_back(begin, begin + tensor.spec.bytes());
    };
    for (size_t v = 0; v < net->program().values.size(); ++v) {
      add(net->plan().data(static_cast<int>(v)));
      add(net->plan().diff(static_cast<int>(v)));
    }
    CHECK_EQ(ranges.size(), 2 * net->program().values.size());
    std::sort(ranges.begin(), ranges.end());
    for (size_t i = 1; i < ranges.size(); ++i) CHECK(ranges[i - 1].second <= ranges[i].first);
  }
}

TEST(outputs_and_kept_blobs_outlive_the_pass) {
  const std::string text = deep_net(6);
  for (const std::string& backend : backend_names()) {
    NetOptions options = net_on(backend, true);
    options.keep = {"c1"};
    const auto fused = make_net(text, options), kept = make_net(text, net_on(backend));
    for (Net* net : {fused.get(), kept.get()}) feed_all(*net, 5);
    pass(*fused);
    kept->forward();
    CHECK(relative_difference(blob_of(*fused, "c1"), blob_of(*kept, "c1")) < 1e-5);
    CHECK_CLOSE(blob_of(*fused, "loss")[0], blob_of(*kept, "loss")[0], 1e-5);
  }
}

}  // namespace
}  // namespace pcc
