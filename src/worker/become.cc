#include "worker/become.h"

#include <fcntl.h>
#include <linux/prctl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/sys.h"

namespace brood {
namespace {

Result<void> take_priority(const ProcessState& state) {
  errno = 0;
  if (getpriority(PRIO_PROCESS, 0) != state.nice && setpriority(PRIO_PROCESS, 0, state.nice) != 0)
    return sys_error("take over the nice value " + std::to_string(state.nice));
  char mask[1024];
  const long bytes = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);
  const std::string& wanted = state.cpu_affinity;
  if (bytes > 0 && !wanted.empty() &&
      wanted != std::string_view(mask, static_cast<size_t>(bytes)) &&
      syscall(SYS_sched_setaffinity, 0, wanted.size(), wanted.data()) != 0)
    return sys_error("take over the processor affinity");
  return {};
}

// Memory of its own that stays for ever. The kernel shows a process' command line and environment
// only from anonymous memory, which the heap of an image is not.
char* keep_for_ever(std::string_view bytes) {
  void* memory =
      mmap(nullptr, bytes.size() + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  require(memory != MAP_FAILED, "memory for the command line and the environment");
  std::memcpy(memory, bytes.data(), bytes.size());
  return static_cast<char*>(memory);
}

void close_between(int low, int high) {  // both ends excluded
  if (high - low > 1)
    close_range(static_cast<unsigned>(low + 1), static_cast<unsigned>(high - 1), 0);
}

}  // namespace

Result<void> take_process_state(const ProcessState& state, int cwd) {
  if (fchdir(cwd) != 0) return sys_error("enter the working directory");
  umask(static_cast<mode_t>(state.umask));
  return take_priority(state);
}

Result<void> take_limits(const ProcessState& state) {
  for (size_t i = 0; i < kResourceLimits; i++) {
    const auto resource = static_cast<__rlimit_resource>(i);
    rlimit now{};
    if (getrlimit(resource, &now) != 0) continue;
    const ResourceLimit wanted = state.limits[i];
    if (now.rlim_cur == wanted.soft && now.rlim_max == wanted.hard) continue;
    const rlimit limit{wanted.soft, wanted.hard};
    if (setrlimit(resource, &limit) != 0)
      return sys_error("take over the resource limit number " + std::to_string(i));
  }
  return {};
}

Result<void> take_descriptors(std::vector<Fd> received, const std::vector<uint32_t>& numbers,
                              const std::vector<int>& kept, Fd& keep) {
  require(received.size() == numbers.size(), "as many descriptors as numbers");
  int highest = 2;
  for (uint32_t number : numbers) {
    if (number > 1 << 20) return Error{"a descriptor number out of range"};
    highest = std::max(highest, static_cast<int>(number));
    if (std::binary_search(kept.begin(), kept.end(), static_cast<int>(number)))
      return Error{"descriptor " + std::to_string(number) + " is in use by a preloaded module"};
  }
  if (!kept.empty()) highest = std::max(highest, kept.back());
  // Above all numbers the program can see first; a program that opens that many moves past it.
  Fd moved = duplicate_above(keep.get(), std::max(highest + 1, 200));
  if (!moved) return sys_error("move a descriptor");
  keep = std::move(moved);
  for (Fd& fd : received)
    if (fd.get() <= highest) {
      fd = duplicate_above(fd.get(), highest + 1);
      if (!fd) return sys_error("move a descriptor");
    }
  std::vector<int> open(kept);
  for (size_t i = 0; i < numbers.size(); i++) {
    const int number = static_cast<int>(numbers[i]);
    if (dup2(received[i].get(), number) < 0) return sys_error("place a descriptor");
    open.push_back(number);
  }
  received.clear();
  open.push_back(keep.get());
  std::sort(open.begin(), open.end());
  int below = -1;
  for (int number : open) {
    close_between(below, number);
    below = number;
  }
  close_range(static_cast<unsigned>(below + 1), ~0U, 0);
  return {};
}

TakenEnvironment take_environment(const std::string& block,
                                  const std::vector<std::string>& overrides) {
  TakenEnvironment result;
  result.block = keep_for_ever(block);
  result.block_size = block.size();
  auto* pointers = new std::vector<char*>;
  for (size_t at = 0; at < block.size(); at += std::strlen(result.block + at) + 1)
    pointers->push_back(result.block + at);
  pointers->push_back(nullptr);
  environ = pointers->data();
  for (const std::string& item : overrides) {
    const size_t equals = item.find('=');
    if (equals != item.npos)
      setenv(item.substr(0, equals).c_str(), item.substr(equals + 1).c_str(), 1);
  }
  tzset();
  for (char** item = environ; *item; item++)
    result.items.push_back(*item);
  return result;
}

void show_command_line(const std::vector<std::string>& words, const TakenEnvironment& environment) {
  Result<std::string> stat = read_file("/proc/self/stat", 8192);
  const size_t close = stat ? stat->rfind(')') : std::string::npos;
  if (close == std::string::npos) return;
  // After the command's name come fields 3, 4, ... of proc(5), space-separated.
  std::array<uint64_t, 52> fields{};
  const char* at = stat->data() + close + 1;
  for (size_t field = 3; field < fields.size() && at; field++) {
    fields[field] = strtoull(at + 1, nullptr, 10);
    at = std::strchr(at + 1, ' ');
  }
  std::string line;
  for (const std::string& word : words)
    line.append(word).push_back('\0');
  prctl_mm_map map{};
  map.start_code = fields[26];
  map.end_code = fields[27];
  map.start_stack = fields[28];
  map.start_data = fields[45];
  map.end_data = fields[46];
  map.start_brk = fields[47];
  map.brk = reinterpret_cast<uint64_t>(sbrk(0));
  map.arg_start = reinterpret_cast<uint64_t>(keep_for_ever(line));
  map.arg_end = map.arg_start + line.size();
  map.env_start = reinterpret_cast<uint64_t>(environment.block);
  map.env_end = map.env_start + environment.block_size;
  map.exe_fd = ~0U;
  prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0);
}

}  // namespace brood
