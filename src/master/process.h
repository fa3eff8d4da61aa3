// Process: a program that leads to a gateway's interpreter, or is it. Any thread.
#pragma once

#include <sys/types.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace brood::master {

class Process {
 public:
  // Executes words[0], searched in PATH. `link` becomes its descriptors 0 and 1, `complaints` its
  // descriptor 2. `leads`: it leads a process group of its own, which kill() is for.
  static Result<std::unique_ptr<Process>> start(const std::vector<std::string>& words, int link,
                                                int complaints, bool leads);
  // Kills it, and waits a second: one of another user, as sudo is, may go on.
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // Until it has ended: its status, negative for a signal's number; nothing: not by then
  // (CLOCK_MONOTONIC, ns). One that somebody else has waited for has the status 0.
  std::optional<int> wait(int64_t deadline);
  void kill();

 private:
  Process(pid_t pid, Fd handle, bool leads)
      : pid_(pid), handle_(std::move(handle)), leads_(leads) {}
  std::optional<int> reap();

  const pid_t pid_;
  const Fd handle_;  // a pidfd
  const bool leads_;
  std::mutex mutex_;  // a pid must not be used after it was waited for
  std::optional<int> status_;
};

}  // namespace brood::master
