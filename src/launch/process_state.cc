#include "launch/process_state.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "base/signals.h"

namespace brood {
ProcessState read_process_state() {
  ProcessState state;
  state.umask = umask(077);
  umask(state.umask);
  errno = 0;
  state.nice = getpriority(PRIO_PROCESS, 0);
  state.ignored_signals = ignored_signals();
  state.blocked_signals = blocked_signals();
  for (size_t i = 0; i < kResourceLimits; i++) {
    rlimit limit{};
    if (getrlimit(static_cast<__rlimit_resource>(i), &limit) == 0)
      state.limits[i] = {limit.rlim_cur, limit.rlim_max};
  }
  char mask[1024];
  const long bytes = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);
  if (bytes > 0) state.cpu_affinity.assign(mask, static_cast<size_t>(bytes));
  return state;
}

Result<std::vector<uint32_t>> open_descriptors() {
  Fd dir(open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir) return sys_error("list the open descriptors");
  std::vector<uint32_t> numbers;
  alignas(uint64_t) char buffer[4096];
  for (;;) {
    const long got = syscall(SYS_getdents64, dir.get(), buffer, sizeof buffer);
    if (got < 0) return sys_error("list the open descriptors");
    if (got == 0) break;
    for (long at = 0; at < got;) {
      const dirent64* entry = reinterpret_cast<const dirent64*>(buffer + at);
      at += entry->d_reclen;
      if (entry->d_name[0] == '.') continue;
      const auto number = static_cast<uint32_t>(strtoul(entry->d_name, nullptr, 10));
      if (number != static_cast<uint32_t>(dir.get())) numbers.push_back(number);
    }
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

}  // namespace brood
