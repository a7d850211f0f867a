// InUse: who works with nets that share memory. One thread at a time runs them; nobody waits for a
// pass.
#pragma once

#include <mutex>
#include <thread>

namespace pcc {

// Of a net and of all that use its parameters. What cannot be had at once is an engine error.
class InUse {
 public:
  // As long as it lives its thread alone makes passes and changes nets. It may come back: a run
  // makes passes, and is asked between them whether to go on.
  class Run {
   public:
    explicit Run(InUse& use);
    ~Run();
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;

   private:
    InUse& use_;
  };

  // A run of which ops are part, or that makes them anew: what they call back begins no other.
  class Pass {
   public:
    explicit Pass(InUse& use);
    ~Pass();
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

   private:
    InUse& use_;
    Run run_;
  };

  // A short look at values, or a change of them, by the thread that runs, or while none does. It
  // calls back nobody, so that others may wait for its end.
  class Look {
   public:
    explicit Look(InUse& use);

   private:
    std::unique_lock<std::recursive_mutex> lock_;
  };

 private:
  void refuse_others() const;

  std::recursive_mutex mutex_;  // of what follows, and for the length of a look
  std::thread::id thread_;      // that runs
  int runs_ = 0;                // of that thread's, one in the other
  bool in_pass_ = false;
};

}  // namespace pcc
