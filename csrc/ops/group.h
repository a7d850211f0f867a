// Group: the processes that train one net together, each on its share of every batch, and how they
// speak to each other through the host's memory.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "ops/op.h"

struct pollfd;

namespace pcc {

// Calls block until the others have come as far. Where one of them is gone, says nothing for too
// long, or abort() was called, they throw an engine error, and so do all that follow. One thread at
// a time, but for abort.
class Group : public std::enable_shared_from_this<Group> {
 public:
  // Over sockets that are open for as long as the group lives: in a ring, from the rank before and
  // to the one behind; and from rank 0 to every other by its number (its own: -1), of which those
  // have one, at [0]. words may be empty: nobody leads then, and all make the same calls.
  // patience: how many seconds one waits for another that lives but does nothing; 0: for ever, as
  // one waits for what rank 0 leads to, who may do something else meanwhile.
  Group(int rank, int ranks, int from, int to, std::vector<int> words, double patience = 0);

  int rank() const { return rank_; }
  int ranks() const { return ranks_; }
  bool leads() const { return rank_ == 0 && !words_.empty(); }
  double patience() const { return patience_; }

  // Values become their sum over all ranks, the same bits in each. Its order depends on the number
  // of ranks and of values only.
  void sum(float* values, int64_t count);
  void sum(double* values, int64_t count);
  // Rank 0's bytes come to all.
  void broadcast(void* data, int64_t bytes);

  // Rank 0 has an iteration begin, or says that none comes any more.
  void begin() { say('i'); }
  void end() { say('e'); }
  // The others wait for that: whether one begins.
  bool begins();
  // Whether they need not wait, or not for longer than that.
  bool hears(int milliseconds) const;

  // Ends what goes on and all that comes, from any thread: these calls throw, and so do those that
  // on_abort names. why: what they say then, if they are the first to be told.
  void abort(const std::string& why = "") noexcept;
  // Throws once that has happened.
  void check() const;
  // What is said of something that was waited for in vain.
  std::string impatience(const std::string& what) const;
  // For who speaks to the other ranks in its own way; not called after it was replaced by {}.
  void on_abort(std::function<void()> act);
  // What a device's ops have in common to do so. It ends before the group does.
  std::shared_ptr<void>& companion() { return companion_; }

 private:
  template <typename T>
  void sum_typed(T* values, int64_t count);
  void say(char word);
  void exchange(const char* out, int64_t out_bytes, char* in, int64_t in_bytes);
  void send(int socket, const char* data, int64_t bytes);
  void receive(int socket, char* data, int64_t bytes, bool for_ever = false);
  void wait(pollfd* sockets, size_t count, int socket, bool for_ever = false) const;
  int other_end(int socket) const;
  [[noreturn]] void lost(int socket) const;

  int rank_, ranks_, from_, to_;
  std::vector<int> words_;
  double patience_;
  std::vector<char> room_;
  std::atomic<bool> aborted_ = false;
  mutable std::mutex mutex_;
  std::string why_;  // of abort
  std::function<void()> act_;
  std::shared_ptr<void> companion_;
};

// AllReduceDesc for every backend whose memory is the host's.
std::unique_ptr<Op> make_host_all_reduce(const AllReduceDesc& desc, const OpSite& site);

}  // namespace pcc
