// Whether to spin before a wait sleeps. To put a processor to sleep and have another one wake it
// takes 20-60 us in a virtual machine; answers that come sooner are better polled for, and sleep
// costs the least for all others (competitive spinning: A. Karlin et al., "Empirical studies of
// competitive spinning for a shared-memory multiprocessor", SOSP 1991).
//
// What the last waits were like tells what the next one is: it spins after a brief one. Where that
// fails, because the other side has no processor of its own, it is tried half as often each time,
// where it succeeds twice as often. Pure.
#pragma once

#include <algorithm>
#include <cstdint>

namespace brood::gateway {

class Spin {
 public:
  static constexpr int64_t kLongest = 50'000;  // ns of a spin
  static constexpr int64_t kBrief = 150'000;   // ns of a wait with a sleep, after which one spins

  bool wanted() const { return brief_ && skip_ == 0; }
  // A wait has ended, after so many ns.
  void waited(int64_t ns) {
    brief_ = ns < kBrief;
    skip_ = std::max(skip_ - 1, 0);
  }
  void succeeded() { next_skip_ = std::max(next_skip_ / 2, kFirstSkip); }
  void failed() {
    brief_ = false;
    skip_ = next_skip_;
    next_skip_ = std::min(2 * next_skip_, kMostSkip);
  }

 private:
  static constexpr int kFirstSkip = 8, kMostSkip = 1024;  // waits without a spin
  bool brief_ = false;
  int skip_ = 0;
  int next_skip_ = kFirstSkip;
};

}  // namespace brood::gateway
