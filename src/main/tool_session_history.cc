#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <utility>

#include "base/fd.h"
#include "main/line_history.h"

namespace brood {
namespace {

constexpr int kMaxLines = 5000;

struct CloseFile {
  void operator()(FILE* file) const { std::fclose(file); }
};
using LockedFile = std::unique_ptr<FILE, CloseFile>;

// To append to, while nobody else does; null: it cannot be opened.
LockedFile open_locked(const std::string& path) {
  if (path.empty()) return nullptr;
  Fd fd(open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return nullptr;
  while (flock(fd.get(), LOCK_EX) != 0 && errno == EINTR) {
  }
  LockedFile file(fdopen(fd.get(), "a"));
  if (file) fd.release();
  return file;
}

// In libedit's format, which begins with a line of its own.
void append(History* lines, FILE* file) {
  HistEvent event;
  std::fseek(file, 0, SEEK_END);
  ::history(lines, &event, H_SAVE_FP, file);
}

}  // namespace

LineHistory::LineHistory(std::string file) : file_(std::move(file)), lines_(history_init()) {
  HistEvent event;
  ::history(lines_, &event, H_SETSIZE, kMaxLines);
  ::history(lines_, &event, H_SETUNIQUE, 1);
  const LockedFile locked = open_locked(file_);
  if (!locked) return;
  const int loaded = ::history(lines_, &event, H_LOAD, file_.c_str());
  if (loaded >= 0 && loaded <= kMaxLines) return;  // else it is too long, or no history
  if (ftruncate(fileno(locked.get()), 0) == 0) append(lines_, locked.get());
}

LineHistory::~LineHistory() { history_end(lines_); }

void LineHistory::add(const std::string& line) {
  HistEvent event;
  if (::history(lines_, &event, H_FIRST) == 0 && line == event.str) return;
  ::history(lines_, &event, H_ENTER, line.c_str());
  const LockedFile locked = open_locked(file_);
  if (!locked) return;
  const std::unique_ptr<History, decltype(&history_end)> added(history_init(), history_end);
  ::history(added.get(), &event, H_SETSIZE, 1);
  ::history(added.get(), &event, H_ENTER, line.c_str());
  append(added.get(), locked.get());
}

}  // namespace brood
