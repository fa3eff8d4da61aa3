#include "session/usage.h"

#include <limits.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/sys.h"
#include "daemon/memory.h"

namespace brood {
namespace {

constexpr size_t kMostProcesses = 4096;  // looked at in one walk
constexpr int kKillRounds = 5;

struct Stat {
  char state = '?';
  pid_t parent = 0, group = 0, session = 0;
  uint64_t cpu_ns = 0;
  uint64_t started = 0;
};

// proc(5), /proc/pid/stat: field 3 is the state; the command's name before it may hold anything.
std::optional<Stat> read_stat(pid_t pid) {
  Result<std::string> text = read_file("/proc/" + std::to_string(pid) + "/stat", 4096);
  const size_t close = text ? text->rfind(')') : std::string::npos;
  if (close == std::string::npos || close + 2 >= text->size()) return std::nullopt;
  Stat stat;
  stat.state = (*text)[close + 2];
  uint64_t fields[23] = {};
  const char* at = text->data() + close + 3;
  for (int field = 4; field <= 22 && at; field++) {
    fields[field] = strtoull(at + 1, nullptr, 10);
    at = std::strchr(at + 1, ' ');
  }
  static const uint64_t kTickNs = 1'000'000'000 / static_cast<uint64_t>(sysconf(_SC_CLK_TCK));
  stat.parent = static_cast<pid_t>(fields[4]);
  stat.group = static_cast<pid_t>(fields[5]);
  stat.session = static_cast<pid_t>(fields[6]);
  stat.cpu_ns = (fields[14] + fields[15]) * kTickNs;
  stat.started = fields[22];
  return stat;
}

// Resident pages that no file backs; those of an image are a file's until they are changed.
uint64_t own_memory(pid_t pid) {
  static const auto kPage = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  Result<std::string> text = read_file("/proc/" + std::to_string(pid) + "/statm", 256);
  if (!text) return 0;
  char* end = nullptr;
  strtoull(text->c_str(), &end, 10);
  const uint64_t resident = strtoull(end, &end, 10);
  const uint64_t shared = strtoull(end, &end, 10);
  return resident > shared ? (resident - shared) * kPage : 0;
}

// Its working directory is that folder, or below it.
bool is_in(pid_t pid, const std::string& folder) {
  if (folder.empty()) return false;
  char path[PATH_MAX];
  const ssize_t size = readlink(("/proc/" + std::to_string(pid) + "/cwd").c_str(), path, PATH_MAX);
  if (size <= 0) return false;
  const std::string_view found(path, static_cast<size_t>(size));
  return found.starts_with(folder) &&
         (found.size() == folder.size() || found[folder.size()] == '/' ||
          found[folder.size()] == ' ');  // "FOLDER (deleted)"
}

}  // namespace

std::vector<pid_t> Usage::collect(const Belongings& where) {
  const pid_t worker = where.worker;
  std::vector<pid_t> found;
  std::set<pid_t> known;
  const auto add = [&](pid_t pid) {
    if (found.size() < kMostProcesses && known.insert(pid).second) found.push_back(pid);
  };
  if (worker > 0) add(worker);
  // Orphans: of those seen before, those whose group or session is the worker's, and those that
  // work in its folder.
  for (const pid_t pid : where.strangers) {
    const std::optional<Stat> stat = read_stat(pid);
    if (!stat || pid == worker) continue;
    const auto seen = seen_.find(pid);
    const bool same = seen != seen_.end() && seen->second.started == stat->started;
    const bool related = worker > 0 && (stat->group == worker || stat->session == worker);
    if (same || related || is_in(pid, where.folder)) add(pid);
  }
  if (where.members)
    for (const pid_t pid : where.members())
      add(pid);
  for (size_t at = 0; at < found.size(); at++)
    for (const pid_t child : children_of(found[at]))
      add(child);
  return found;
}

UsageSample Usage::measure(const Belongings& where) {
  UsageSample sample;
  std::map<pid_t, Process> now;
  for (const pid_t pid : collect(where)) {
    const std::optional<Stat> stat = read_stat(pid);
    if (!stat || stat->state == 'Z') continue;
    now[pid] = {stat->started, stat->cpu_ns};
    sample.processes++;
    sample.memory += own_memory(pid);
    sample.cpu_ns += stat->cpu_ns;
  }
  for (const auto& [pid, process] : seen_)
    if (const auto found = now.find(pid);
        found == now.end() || found->second.started != process.started)
      ended_cpu_ns_ += process.cpu_ns;
  seen_ = std::move(now);
  sample.cpu_ns += ended_cpu_ns_;
  return sample;
}

void Usage::kill_others(const Belongings& where) {
  for (int round = 0; round < kKillRounds; round++) {
    bool any = false;
    for (const pid_t pid : collect(where)) {
      const std::optional<Stat> stat = pid == where.worker ? std::nullopt : read_stat(pid);
      if (!stat || stat->state == 'Z') continue;
      kill(pid, SIGKILL);
      any = true;
    }
    if (!any) return;
  }
}

}  // namespace brood
