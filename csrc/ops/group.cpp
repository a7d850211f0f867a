#include "ops/group.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/check.h"

namespace pcc {

namespace {

// Moves what can be moved without waiting: how many bytes; -1: the other end is gone.
int64_t move(int64_t done, bool would_wait) {
  if (done > 0) return done;
  return done < 0 && would_wait ? 0 : -1;
}

bool would_wait() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

int64_t send_some(int socket, const char* data, int64_t bytes) {
  const ssize_t done =
      ::send(socket, data, static_cast<size_t>(bytes), MSG_NOSIGNAL | MSG_DONTWAIT);
  return move(done, would_wait());
}

int64_t receive_some(int socket, char* data, int64_t bytes) {
  const ssize_t done = ::recv(socket, data, static_cast<size_t>(bytes), MSG_DONTWAIT);
  return move(done, would_wait());
}

}  // namespace

Group::Group(int rank, int ranks, int from, int to, std::vector<int> words, double patience)
    : rank_(rank),
      ranks_(ranks),
      from_(from),
      to_(to),
      words_(std::move(words)),
      patience_(patience) {
  PCC_CONFIG(ranks >= 1 && rank >= 0 && rank < ranks, "rank ", rank, " of ", ranks);
  PCC_CHECK(words_.empty() || words_.size() == (rank == 0 ? static_cast<size_t>(ranks) : 1),
            "a group of ", ranks, " with ", words_.size(), " sockets");
}

int Group::other_end(int socket) const {
  const bool in_ring = socket == from_ || socket == to_;
  if (in_ring) return socket == from_ ? (rank_ + ranks_ - 1) % ranks_ : (rank_ + 1) % ranks_;
  const auto found = std::find(words_.begin(), words_.end(), socket);
  return rank_ > 0 ? 0 : static_cast<int>(found - words_.begin());
}

void Group::lost(int socket) const {
  check();
  PCC_THROW(engine, "rank ", rank_, " of ", ranks_, " has lost rank ", other_end(socket),
            ": its process has ended, or cannot be reached any more");
}

void Group::check() const {
  if (!aborted_) return;
  const std::lock_guard lock(mutex_);
  PCC_THROW(engine, why_.empty() ? "the run's processes were stopped" : why_);
}

std::string Group::impatience(const std::string& what) const {
  return concat("rank ", rank_, " of ", ranks_, " has waited ", patience_, " s for ", what,
                " (PYCAFFE_CLR_RANKS_TIMEOUT)");
}

// Until one of the sockets can go on; `socket` is the one that most is expected of.
void Group::wait(pollfd* sockets, size_t count, int socket, bool for_ever) const {
  constexpr double kLongest = 1e9;  // ms, which an int holds
  const bool ends = patience_ > 0 && !for_ever;
  const int limit = ends ? static_cast<int>(std::min(1000 * patience_, kLongest)) : -1;
  if (aborted_) lost(socket);
  const int ready = ::poll(sockets, count, limit);
  if (ready < 0 && errno != EINTR) lost(socket);
  if (ready == 0)
    PCC_THROW(engine, impatience(concat("rank ", other_end(socket),
                                        ", whose process has not ended and does not go on")));
}

// Sends to the rank behind and receives from the one before, whichever can go on.
void Group::exchange(const char* out, int64_t out_bytes, char* in, int64_t in_bytes) {
  while (out_bytes > 0 || in_bytes > 0) {
    // What is done is not looked at: that its other end has left would be said again and again.
    pollfd both[2] = {{out_bytes > 0 ? to_ : -1, POLLOUT, 0},
                      {in_bytes > 0 ? from_ : -1, POLLIN, 0}};
    wait(both, 2, in_bytes > 0 ? from_ : to_);
    if (out_bytes > 0 && both[0].revents) {
      const int64_t done = send_some(to_, out, out_bytes);
      if (done < 0) lost(to_);
      out += done;
      out_bytes -= done;
    }
    if (in_bytes > 0 && both[1].revents) {
      const int64_t done = receive_some(from_, in, in_bytes);
      if (done < 0) lost(from_);
      in += done;
      in_bytes -= done;
    }
  }
}

void Group::send(int socket, const char* data, int64_t bytes) {
  while (bytes > 0) {
    pollfd one = {socket, POLLOUT, 0};
    wait(&one, 1, socket);
    const int64_t done = send_some(socket, data, bytes);
    if (done < 0) lost(socket);
    data += done;
    bytes -= done;
  }
}

void Group::receive(int socket, char* data, int64_t bytes, bool for_ever) {
  while (bytes > 0) {
    pollfd one = {socket, POLLIN, 0};
    wait(&one, 1, socket, for_ever);
    const int64_t done = receive_some(socket, data, bytes);
    if (done < 0) lost(socket);
    data += done;
    bytes -= done;
  }
}

// Round the ring twice: each rank sums one of as many parts as there are ranks, which then goes to
// all. In step s rank r passes on part r - s, to which it has added its own values.
template <typename T>
void Group::sum_typed(T* values, int64_t count) {
  if (ranks_ == 1) return;
  const auto begin = [&](int part) { return count * part / ranks_; };
  const auto bytes = [](int64_t of) { return of * static_cast<int64_t>(sizeof(T)); };
  const auto part = [&](int step) { return ((rank_ - step) % ranks_ + ranks_) % ranks_; };
  room_.resize(static_cast<size_t>(bytes(count / ranks_ + 1)));
  T* const came = reinterpret_cast<T*>(room_.data());
  for (int step = 0; step < 2 * (ranks_ - 1); ++step) {
    const bool adds = step < ranks_ - 1;
    const int out = part(step), in = part(step + 1);
    const int64_t wanted = begin(in + 1) - begin(in);
    T* const to = values + begin(in);
    exchange(reinterpret_cast<const char*>(values + begin(out)), bytes(begin(out + 1) - begin(out)),
             reinterpret_cast<char*>(adds ? came : to), bytes(wanted));
    if (adds)
      for (int64_t i = 0; i < wanted; ++i) to[i] = came[i] + to[i];
  }
}

void Group::sum(float* values, int64_t count) { sum_typed(values, count); }
void Group::sum(double* values, int64_t count) { sum_typed(values, count); }

// Along the ring, in pieces that are passed on while more come.
void Group::broadcast(void* data, int64_t bytes) {
  constexpr int64_t kPiece = 1 << 20;
  const bool last = rank_ == ranks_ - 1;
  for (int64_t at = 0; at < bytes; at += kPiece) {
    char* const piece = static_cast<char*>(data) + at;
    const int64_t size = std::min(kPiece, bytes - at);
    if (rank_ > 0) receive(from_, piece, size);
    if (!last) send(to_, piece, size);
  }
}

void Group::say(char word) {
  for (int other = 1; other < ranks_; ++other) send(words_[static_cast<size_t>(other)], &word, 1);
}

bool Group::begins() {
  char word = 0;
  receive(words_[0], &word, 1, true);
  PCC_CHECK(word == 'i' || word == 'e', "rank ", rank_, " got a word from rank 0 that is none");
  return word == 'i';
}

bool Group::hears(int milliseconds) const {
  pollfd one = {words_[0], POLLIN, 0};
  return ::poll(&one, 1, milliseconds) > 0;
}

void Group::abort(const std::string& why) noexcept {
  const std::lock_guard lock(mutex_);
  if (!aborted_) why_ = why;
  aborted_ = true;
  for (const int socket : {from_, to_})
    if (socket >= 0) ::shutdown(socket, SHUT_RDWR);
  try {
    if (act_) act_();
  } catch (const std::exception&) {  // whoever waits is told
  }
}

void Group::on_abort(std::function<void()> act) {
  const std::lock_guard lock(mutex_);
  act_ = std::move(act);
}

namespace {

class HostAllReduce : public Op {
 public:
  explicit HostAllReduce(const AllReduceDesc& desc) : group_(desc.group), part_(desc.part) {}
  void forward(const Context&) override {
    if (part_ == AllReduceDesc::Part::join) return;  // it was there at once
    const Tensor& values = buffers_.params[0];
    if (values.spec.dtype == DType::f64)
      group_->sum(values.as<double>(), values.count());
    else
      group_->sum(values.as<float>(), values.count());
  }
  std::string implementation() const override { return "sockets"; }

 private:
  std::shared_ptr<Group> group_;
  AllReduceDesc::Part part_;
};

}  // namespace

std::unique_ptr<Op> make_host_all_reduce(const AllReduceDesc& desc, const OpSite&) {
  return std::make_unique<HostAllReduce>(desc);
}

}  // namespace pcc
