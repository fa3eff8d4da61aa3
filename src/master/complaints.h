// Complaints: the lines of a program's standard error, read by a thread until its end.
#pragma once

#include <functional>
#include <string_view>
#include <thread>

#include "base/fd.h"

namespace brood::master {

class Complaints {
 public:
  using OnLine = std::function<void(std::string_view line)>;
  // `fd` does not block. on_line is called in the thread.
  Complaints(Fd fd, OnLine on_line);
  // Reads what is there and ends the thread: others may have the pipe open.
  ~Complaints();
  Complaints(const Complaints&) = delete;
  Complaints& operator=(const Complaints&) = delete;

 private:
  Fd stop_;  // an eventfd
  std::thread thread_;
};

// A thread in which all signals are blocked: they are for the program's own.
std::thread start_quiet_thread(std::function<void()> run);

}  // namespace brood::master
