#include "master/deadlines.h"

#include <chrono>

#include "base/clock.h"
#include "master/complaints.h"

namespace brood::master {

Deadlines::~Deadlines() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Deadlines::add(int64_t when, std::function<void()> late) {
  const std::lock_guard lock(mutex_);
  due_.emplace(when, std::move(late));
  if (!thread_.joinable()) thread_ = start_quiet_thread([this] { run(); });
  if (due_.begin()->first == when) changed_.notify_all();
}

void Deadlines::run() {
  std::unique_lock lock(mutex_);
  while (!stopped_) {
    const int64_t left = due_.empty() ? INT64_MAX : due_.begin()->first - monotonic_ns();
    if (due_.empty()) {
      changed_.wait(lock);
    } else if (left > 0) {
      changed_.wait_for(lock, std::chrono::nanoseconds(left));
    } else {
      const std::function<void()> late = std::move(due_.begin()->second);
      due_.erase(due_.begin());
      lock.unlock();
      late();
      lock.lock();
    }
  }
}

}  // namespace brood::master
