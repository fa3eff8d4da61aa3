// Clocks.
#pragma once

#include <time.h>

#include <cstdint>

namespace brood {

constexpr int64_t kSecond = 1'000'000'000;  // in the nanoseconds of int64_t times

// Nanoseconds of CLOCK_MONOTONIC.
inline int64_t monotonic_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * kSecond + now.tv_nsec;
}

// Seconds since 1970 of CLOCK_REALTIME, for what people and files are told.
inline double wall_seconds() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

}  // namespace brood
