// What streams of the host were asked for: queues of it, and recordings.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "backends/cuda/runtime.h"

namespace pcc::cuda {

using Work = std::function<void()>;

// What a stream was asked for and has not done yet.
class Queue {
 public:
  void add(Work work);
  int64_t asked() const { return asked_; }
  // Until so many of all that were ever asked for are done.
  void finish(int64_t count);

 private:
  std::deque<Work> waiting_;
  int64_t asked_ = 0, done_ = 0;
};

// Branches, one for each stream that took part, which wait for marks of each other.
class Recording {
 public:
  int add_branch();
  void add(int branch, Work work);
  int add_mark(int branch);             // an event, at the end of what the branch has so far
  void add_wait(int branch, int mark);  // for that point
  // Throws an engine error where the first branch does not wait for the end of another: a device
  // would not record that.
  void check_joined() const;
  // In the order in which it was asked for, or, `late`, each branch only when it is waited for.
  void replay(bool late) const;

 private:
  struct Step {
    int branch;
    Work work;      // none: it waits
    int mark = -1;  // for this
  };
  struct Mark {
    int branch;
    size_t position;  // the branch's steps before it
  };
  void follow(int branch, size_t end, std::vector<size_t>& done, bool works) const;

  std::vector<Step> steps_;                           // of all, as they were asked for
  std::vector<std::vector<size_t>> branches_ = {{}};  // places in steps_
  std::vector<Mark> marks_;
};

// A recording in the making, of all streams that take part.
struct Capture {
  std::shared_ptr<Recording> recording = std::make_shared<Recording>();
  bool open = true;
};

}  // namespace pcc::cuda
