#include "base/scheduling.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace brood {
namespace {

// As in linux/sched/types.h, which cannot be included beside sched.h.
struct SchedulingAttributes {
  uint32_t size = sizeof(SchedulingAttributes);
  uint32_t policy = 0;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime = 0;  // nanoseconds: the time slice; 0 is the system's default
  uint64_t deadline = 0;
  uint64_t period = 0;
};

constexpr uint64_t kLongSlice = 100'000'000;  // nanoseconds; the longest that the kernel takes

void set(uint32_t from, uint32_t to, uint64_t slice) {
  SchedulingAttributes now;
  if (syscall(SYS_sched_getattr, 0, &now, sizeof now, 0) != 0 || now.policy != from) return;
  SchedulingAttributes next;
  next.policy = to;
  next.nice = now.nice;
  next.runtime = slice;
  syscall(SYS_sched_setattr, 0, &next, 0);
}

}  // namespace

void stand_back() { set(SCHED_OTHER, SCHED_BATCH, kLongSlice); }

void stand_in_line() { set(SCHED_BATCH, SCHED_OTHER, 0); }

void give_way() {
  const sched_param none{};
  sched_setscheduler(0, SCHED_IDLE, &none);
}

}  // namespace brood
