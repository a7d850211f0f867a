#include "backends/cuda/choices.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>

#include "core/check.h"

namespace pcc::cuda {

namespace fs = std::filesystem;

namespace {

// The first line of a file; then a choice a line: key, tab, name.
constexpr const char* kHead = "pycaffe_clr: the fastest ways, as measured; safe to remove";

fs::path file_of_the_user() {
  const auto folder = [](const char* variable) {
    const char* const named = std::getenv(variable);
    return named ? fs::path(named) : fs::path();
  };
  fs::path cache = folder("XDG_CACHE_HOME");
  if (!cache.is_absolute()) {  // as its specification has it
    if (!folder("HOME").is_absolute()) return {};
    cache = folder("HOME") / ".cache";
  }
  return cache / "pycaffe_clr" / "cuda_choices";
}

// Keeps other processes from the file; without one where the folder does not let itself be written.
class Lock {
 public:
  explicit Lock(const fs::path& file)
      : descriptor_(open((file.string() + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
    if (descriptor_ >= 0) flock(descriptor_, LOCK_EX);
  }
  ~Lock() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  int descriptor_;
};

}  // namespace

size_t fastest(const std::vector<std::function<double()>>& ways) {
  constexpr size_t kRuns = 5;
  constexpr double kFar = 3;  // times the best
  size_t best = 0;
  double least = 0;
  for (size_t i = 0; i < ways.size(); ++i) {
    ways[i]();
    std::vector<double> seconds;
    while (seconds.size() < kRuns) {
      seconds.push_back(ways[i]());
      const bool is_far = *std::min_element(seconds.begin(), seconds.end()) > kFar * least;
      if (i > 0 && seconds.size() == 2 && is_far) break;
    }
    std::sort(seconds.begin(), seconds.end());
    const double median = seconds[seconds.size() / 2];
    if (i > 0 && median >= least) continue;
    best = i;
    least = median;
  }
  return best;
}

Choices& Choices::of_the_user() {
  static Choices* const all = new Choices(file_of_the_user());
  return *all;
}

std::optional<std::string> Choices::find(const std::string& key) {
  const std::lock_guard lock(mutex_);
  if (!was_read_) read();
  was_read_ = true;
  const auto found = names_.find(key);
  return found == names_.end() ? std::nullopt : std::optional(found->second);
}

std::string Choices::settle(const std::string& key, const std::string& name) {
  const std::lock_guard lock(mutex_);
  if (file_.empty()) return names_.emplace(key, name).first->second;
  std::error_code error;
  fs::create_directories(file_.parent_path(), error);
  const Lock others(file_);
  read();
  const auto [place, is_new] = names_.emplace(key, name);
  if (is_new) write();
  return place->second;
}

std::string Choices::take_remark() {
  const std::lock_guard lock(mutex_);
  return std::exchange(remark_, "");
}

// Adds what others have written. A name that this process has given stays.
void Choices::read() {
  std::ifstream file(file_);
  if (file_.empty() || !file) return;
  std::map<std::string, std::string> read;
  std::string line;
  bool whole = static_cast<bool>(std::getline(file, line)) && line == kHead;
  while (whole && std::getline(file, line)) {
    const size_t tab = line.find('\t');
    whole = tab != std::string::npos && tab > 0 && tab + 1 < line.size() && !file.eof();
    if (whole) read[line.substr(0, tab)] = line.substr(tab + 1);
  }
  if (whole) {
    names_.merge(read);
  } else if (!std::exchange(said_broken_, true)) {
    say(concat(file_.string(), " is broken and ignored: what was measured will be again"));
  }
}

void Choices::write() {
  std::ostringstream text;
  text << kHead << '\n';
  for (const auto& [key, name] : names_) text << key << '\t' << name << '\n';
  const fs::path fresh = concat(file_.string(), ".", getpid());
  std::error_code error;
  errno = 0;
  {
    std::ofstream file(fresh);
    file << text.str();
    file.close();
    if (!file) error = std::error_code(errno ? errno : EIO, std::generic_category());
  }
  if (!error) fs::rename(fresh, file_, error);
  if (!error) return;
  std::error_code ignored;
  fs::remove(fresh, ignored);
  if (std::exchange(said_unwritable_, true)) return;
  say(concat(file_.string(), " cannot be written (", error.message(),
             "): every process measures anew"));
}

void Choices::say(const std::string& remark) { remark_ += (remark_.empty() ? "" : "; ") + remark; }

}  // namespace pcc::cuda
