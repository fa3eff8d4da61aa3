// Deadlines: what is to be done at a moment unless it has become needless by then. One thread, as
// soon as there is something. Any thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

namespace brood::master {

class Deadlines {
 public:
  Deadlines() = default;
  ~Deadlines();  // what is not due yet is not done any more
  Deadlines(const Deadlines&) = delete;
  Deadlines& operator=(const Deadlines&) = delete;

  // `when`: CLOCK_MONOTONIC, ns. `late` is called once, in the thread.
  void add(int64_t when, std::function<void()> late);

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::multimap<int64_t, std::function<void()>> due_;
  bool stopped_ = false;
  std::thread thread_;
};

}  // namespace brood::master
