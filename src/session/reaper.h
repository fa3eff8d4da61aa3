// Reaper: ends processes that came to the server as orphans (frozen copies, resumed workers, what
// programs left behind) and takes their status, so that no zombie stays. Zygotes are reaped by
// their hosts. Server process, its one thread; the process must be a subreaper
// (PR_SET_CHILD_SUBREAPER).
#pragma once

#include <sys/types.h>

#include <functional>
#include <list>
#include <optional>
#include <set>
#include <vector>

#include "base/fd.h"
#include "daemon/asio.h"
#include "daemon/guard.h"

namespace brood {

struct ProcessEnd {
  bool signaled = false;
  int code = 0;  // exit status or signal
};

// If the process has ended and is a child of ours. Reaps it.
std::optional<ProcessEnd> reap_process(int pidfd);

class Reaper {
 public:
  explicit Reaper(boost::asio::io_context& io);
  Reaper(const Reaper&) = delete;

  // Nothing: it is not known how.
  using Ended = std::function<void(std::optional<ProcessEnd>)>;
  // Reaps it when it ends, and calls `ended` then. `pidfd` may be invalid: it has ended already.
  void watch(pid_t pid, Fd pidfd, Ended ended = nullptr);
  // SIGKILL, then watch().
  void end(pid_t pid);

  // Children of this process that are neither `known` nor watched: orphans. Those that have ended
  // are reaped now, the others returned.
  std::vector<pid_t> reap_strangers(const std::set<pid_t>& known);
  bool watches(pid_t pid) const { return watched_.contains(pid); }
  size_t watched() const { return watched_.size(); }

 private:
  struct Entry {
    pid_t pid;
    boost::asio::posix::stream_descriptor process;
    Ended ended;
  };
  void wait(std::list<Entry>::iterator entry);

  boost::asio::io_context& io_;
  std::list<Entry> entries_;
  std::set<pid_t> watched_;
  Guard guard_;
};

}  // namespace brood
