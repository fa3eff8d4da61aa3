// What a session may use. Values; 0 means: without limit. docs/sessions.md explains each.
#pragma once

#include <cstdint>

namespace brood {

// Where there is a limit of open files, brood's own descriptors of a session must be below it:
// kControlDescriptor, and the connection above that.
inline constexpr uint64_t kLeastOpenFiles = 256;

struct SessionLimits {
  uint64_t memory = 0;       // bytes of its own, of all its processes together
  uint64_t cpu = 0;          // seconds of processor time, of all its processes, in all
  uint64_t cell_time = 0;    // seconds of one cell by the clock
  uint64_t processes = 0;    // at the same time, its interpreter included
  uint64_t open_files = 0;   // descriptors of each process; kLeastOpenFiles or more
  uint64_t file_size = 0;    // bytes of each file that it writes
  uint64_t output = 0;       // bytes of stdout and stderr of one cell
  uint64_t output_rate = 0;  // bytes a second; more is held back, not refused

  bool operator==(const SessionLimits&) const = default;
};

}  // namespace brood
