// How many spares, of which kind, and when to fork the next. Passive: the zygote's loop asks, forks
// and tells. Pure but for the times it is given.
#pragma once

#include <cstdint>
#include <optional>

namespace brood {

class SparePool {
 public:
  // A run that has just begun needs the processor more than the next spare does; with others in
  // reserve, wait.
  static constexpr int64_t kPatienceNs = 3'000'000;

  // So many spares are hot: they have touched beforehand what every program touches, which takes
  // some MiB each. A larger target is a reserve for bursts; those beyond are forked and nothing
  // else.
  static constexpr uint32_t kMostHot = 8;

  explicit SparePool(uint32_t target) : target_(target) {}

  bool next_is_hot() const { return hot_ < kMostHot; }
  void forked(bool hot) {
    waiting_++;
    hot_ += hot;
  }
  void taken(bool hot, int64_t now_ns) {
    died(hot);
    last_taken_ns_ = now_ns;
  }
  void died(bool hot) {  // while it waited
    waiting_--;
    hot_ -= hot;
  }
  void drain() { target_ = 0; }

  uint32_t waiting() const { return waiting_; }

  // Nanoseconds until the next fork is due: 0 now, none when there are enough.
  std::optional<int64_t> next_fork(int64_t now_ns) const {
    if (waiting_ >= target_) return std::nullopt;
    if (waiting_ == 0 || 2 * waiting_ < target_) return 0;
    const int64_t due = last_taken_ns_ + kPatienceNs - now_ns;
    return due > 0 ? due : 0;
  }

 private:
  uint32_t target_;
  uint32_t waiting_ = 0;
  uint32_t hot_ = 0;  // of them
  int64_t last_taken_ns_ = 0;
};

}  // namespace brood
