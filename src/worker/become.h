// Becoming the client's process: what a worker takes over before the program starts. Worker
// process, one thread, before the acknowledgement; nothing here touches Python objects. A failure
// means: refuse, and leave.
#pragma once

#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "wire/launch.h"

namespace brood {

// Working directory, umask, nice value, processor affinity. Fails where the client has more than
// this process may take (a lower nice value).
Result<void> take_process_state(const ProcessState& state, int cwd);

// Puts `received[i]` at `numbers[i]` and closes everything else but `kept` and `keep` (a descriptor
// of ours, which is moved out of the way, and good after a failure, too). `kept`: descriptors the
// preload left open, ascending; fails when the client wants such a number.
Result<void> take_descriptors(std::vector<Fd> received, const std::vector<uint32_t>& numbers,
                              const std::vector<int>& kept, Fd& keep);

// Resource limits. After the descriptors: the limit on their numbers may be below that of ours,
// which stays open. Fails where the client has a higher hard limit.
Result<void> take_limits(const ProcessState& state);

// Makes `block` (NAME=value, each ended by NUL) the C environment, with `overrides` on top. The
// memory stays for ever. `items`: the result, for os.environ; `block`: the client's part in one
// piece, for /proc.
struct TakenEnvironment {
  std::vector<char*> items;
  char* block = nullptr;
  size_t block_size = 0;
};
TakenEnvironment take_environment(const std::string& block,
                                  const std::vector<std::string>& overrides);

// What ps, pkill and /proc show of this process becomes the program's: its command line and
// environment (PR_SET_MM_MAP, which needs no privilege). Where the kernel has no such call, they go
// on showing the zygote's.
void show_command_line(const std::vector<std::string>& words, const TakenEnvironment& environment);

}  // namespace brood
