// Usage: what a session's processes use, as /proc tells: the worker, its descendants, orphans that
// are still in the worker's process group or session, and all of its control group, if it has one.
// Server process; a walk costs some 20 microseconds for each process.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace brood {

struct UsageSample {
  uint64_t memory = 0;  // bytes that are its own: anonymous, or changed copies
  uint64_t cpu_ns = 0;  // of all its processes, also of those that have ended
  uint64_t processes = 0;
};

// Where to look for them.
struct Belongings {
  pid_t worker = 0;                             // the live one; 0: none
  std::vector<pid_t> strangers;                 // orphans that have come to this process
  std::string folder;                           // who works in it belongs here; empty: nobody does
  std::function<std::vector<pid_t>()> members;  // of the control group; neither has frozen copies
};

class Usage {
 public:
  // Remembers processes that it has seen, by number and start time, so that those who lose their
  // parent still count.
  UsageSample measure(const Belongings& where);
  // SIGKILL to all of them but the worker; again until none is left (at most a few rounds).
  void kill_others(const Belongings& where);
  bool knows(pid_t pid) const { return seen_.contains(pid); }

 private:
  struct Process {
    uint64_t started = 0;  // clock ticks after boot
    uint64_t cpu_ns = 0;
  };
  std::vector<pid_t> collect(const Belongings& where);

  std::map<pid_t, Process> seen_;
  uint64_t ended_cpu_ns_ = 0;
};

}  // namespace brood
