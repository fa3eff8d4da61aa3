// How much memory processes use, as /proc tells it. Any process of the same user; used by `brood
// status`.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace brood {

struct MemoryUse {
  uint64_t pss = 0;     // bytes; shared pages count by their share
  uint64_t unique = 0;  // bytes that nobody else maps: what would be free without the process

  MemoryUse& operator+=(const MemoryUse& other) {
    pss += other.pss;
    unique += other.unique;
    return *this;
  }
};

// Nothing when the process is gone.
std::optional<MemoryUse> memory_of(pid_t pid);

std::vector<pid_t> children_of(pid_t pid);

}  // namespace brood
