// Which of several ways to do the same work is the fastest: measured once, and remembered.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace pcc::cuda {

// The number of the fastest of several ways, each of which, called, works once and says how many
// seconds it took: by the median of a few runs after a first one, which does not count. One that is
// far slower than the best so far is run twice.
size_t fastest(const std::vector<std::function<double()>>& ways);

// Names by keys, kept in a file that other processes use, too. A key's first name stays for good:
// measurements differ from one to the next, and with the way its last bits. For any thread.
class Choices {
 public:
  // "": none is remembered longer than this lives. Whatever is wrong with the file, nothing throws;
  // take_remark says it.
  explicit Choices(std::filesystem::path file) : file_(std::move(file)) {}
  // Those of $XDG_CACHE_HOME/pycaffe_clr/cuda_choices.
  static Choices& of_the_user();

  std::optional<std::string> find(const std::string& key);
  // Remembers a name, unless the key has got one meanwhile. The name that it has now.
  std::string settle(const std::string& key, const std::string& name);
  // Once each: that the file is broken and ignored, that it cannot be written. "": nothing is
  // wrong.
  std::string take_remark();

 private:
  void read();
  void write();
  void say(const std::string& remark);

  const std::filesystem::path file_;
  std::mutex mutex_;
  bool was_read_ = false, said_broken_ = false, said_unwritable_ = false;
  std::map<std::string, std::string> names_;
  std::string remark_;
};

}  // namespace pcc::cuda
