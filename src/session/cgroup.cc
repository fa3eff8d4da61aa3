#include "session/cgroup.h"

#include <fcntl.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <utility>

#include "base/fd.h"
#include "base/sys.h"

namespace brood {
namespace {

constexpr size_t kMaxFile = 4u << 20;  // bytes of cgroup.procs and of mountinfo
constexpr int kRemoveRounds = 200;     // of 5 ms, for killed processes to be gone

Result<void> write_file(const std::string& path, const std::string& text) {
  const Fd file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) return sys_error("open " + path);
  if (write(file.get(), text.data(), text.size()) < 0)
    return sys_error("write " + text + " to " + path);
  return {};
}

std::string read_text(const std::string& path) {
  Result<std::string> text = read_file(path, kMaxFile);
  return text ? *text : "";
}

std::vector<pid_t> processes_in(const std::string& group) {
  std::vector<pid_t> found;
  std::istringstream lines(read_text(group + "/cgroup.procs"));
  for (pid_t pid; lines >> pid;)
    found.push_back(pid);
  return found;
}

// The number behind `name` in a file of lines "name number".
std::optional<uint64_t> value_in(const std::string& file, const std::string& name) {
  std::istringstream lines(read_text(file));
  std::string word;
  uint64_t value = 0;
  while (lines >> word >> value)
    if (word == name) return value;
  return std::nullopt;
}

// Where the kernel shows the group that this process is in; empty: nowhere, or only in v1.
std::string own_group() {
  std::istringstream groups(read_text("/proc/self/cgroup"));
  std::string group, line;
  while (std::getline(groups, line))
    if (line.starts_with("0::")) group = line.substr(3);
  if (group.empty()) return "";
  // proc_pid_mountinfo(5): fields 4 and 5 are root and mount point, behind " - " is the type.
  std::istringstream mounts(read_text("/proc/self/mountinfo"));
  while (std::getline(mounts, line)) {
    if (line.find(" - cgroup2 ") == line.npos) continue;
    std::istringstream fields(line);
    std::string skipped, root, point;
    fields >> skipped >> skipped >> skipped >> root >> point;
    if (root == "/") return point + (group == "/" ? "" : group);
  }
  return "";
}

bool names(const std::string& list, const std::string& wanted) {
  std::istringstream words(list);
  for (std::string word; words >> word;)
    if (word == wanted) return true;
  return false;
}

// For the groups in `group`, what of memory and pids is to be had.
void hand_down_controllers(const std::string& group) {
  for (const char* controller : {"memory", "pids"}) {
    if (!names(read_text(group + "/cgroup.controllers"), controller)) continue;
    if (Result<void> done =
            write_file(group + "/cgroup.subtree_control", '+' + std::string(controller));
        !done)
      spdlog::warn("no limits by the controller {}: {}", controller, done.error().message);
  }
}

void remove_group(const std::string& group) {
  for (int round = 0; round < kRemoveRounds; round++) {
    if (rmdir(group.c_str()) == 0 || errno != EBUSY) return;
    (void)static_cast<bool>(write_file(group + "/cgroup.kill", "1"));
    usleep(5000);
  }
}

// Groups of servers that did not end by themselves, and all that is in them.
void remove_left_over_groups(const std::string& place) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(place, ignored)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with("brood-")) continue;
    const auto pid = static_cast<pid_t>(strtol(name.c_str() + 6, nullptr, 10));
    if (pid <= 0 || kill(pid, 0) == 0 || errno != ESRCH) continue;
    for (const auto& group : std::filesystem::directory_iterator(entry.path(), ignored))
      if (group.is_directory(ignored)) remove_group(group.path());
    remove_group(entry.path());
  }
}

}  // namespace

// --- the place ----------------------------------------------------------------------------------

Result<std::optional<CgroupPlace>> CgroupPlace::claim(const std::string& where, uid_t owner) {
  if (where == "off") return std::optional<CgroupPlace>();
  const std::string own = own_group();
  const bool automatic = where == "auto";
  if (automatic && (own.empty() || processes_in(own) != std::vector<pid_t>{getpid()}))
    return std::optional<CgroupPlace>();
  const std::string place = automatic ? own : where;
  CgroupPlace made(place + "/brood-" + std::to_string(getpid()), own);
  if (Result<void> done = made.set_up(place, owner); !done) {
    if (automatic) return std::optional<CgroupPlace>();
    return Error{"the control group " + where +
                 " (cgroup in [serve]) cannot be used: " + done.error().message};
  }
  return std::optional<CgroupPlace>(std::move(made));
}

Result<void> CgroupPlace::set_up(const std::string& place, uid_t owner) {
  if (access((place + "/cgroup.controllers").c_str(), F_OK) != 0)
    return Error{"it is no folder of a cgroup v2 file system"};
  remove_left_over_groups(place);
  const std::string server = path_ + "/server";
  for (const std::string& folder : {path_, server})
    if (mkdir(folder.c_str(), 0755) != 0) return sys_error("make " + folder);
  if (Result<void> done = write_file(server + "/cgroup.procs", "0"); !done) return done;
  hand_down_controllers(place);
  hand_down_controllers(path_);
  for (const std::string& file : {path_, path_ + "/cgroup.procs", path_ + "/cgroup.subtree_control",
                                  server, server + "/cgroup.procs"})
    if (chown(file.c_str(), owner, static_cast<gid_t>(-1)) != 0) return sys_error("give " + file);
  return {};
}

CgroupPlace::CgroupPlace(CgroupPlace&& other) noexcept
    : path_(std::exchange(other.path_, "")), former_(std::move(other.former_)) {}

CgroupPlace::~CgroupPlace() {
  if (path_.empty()) return;
  // A group of which others get controllers takes no processes; only ours are in its own one.
  if (path_.starts_with(former_ + "/brood-"))
    for (const char* controller : {"-memory", "-pids"})
      for (const std::string& group : {path_, former_})
        (void)static_cast<bool>(write_file(group + "/cgroup.subtree_control", controller));
  if (!write_file(former_ + "/cgroup.procs", "0")) return;  // the next server removes it
  remove_group(path_ + "/server");
  remove_group(path_);
}

bool CgroupPlace::bounds(const std::string& controller) const {
  return names(read_text(path_ + "/cgroup.subtree_control"), controller);
}

// --- a group ------------------------------------------------------------------------------------

Cgroup::~Cgroup() {
  (void)static_cast<bool>(write_file(path_ + "/cgroup.kill", "1"));
  if (rmdir(path_.c_str()) != 0) all_.leaving_.push_back(path_);
}

void Cgroup::join(pid_t pid, Joined joined) {
  boost::asio::post(all_.mover_, [&io = all_.io_, path = path_, pid, joined = std::move(joined)] {
    Result<void> done = write_file(path + "/cgroup.procs", std::to_string(pid));
    boost::asio::post(io, [joined, done = std::move(done)] { joined(done); });
  });
}

std::vector<pid_t> Cgroup::members() const { return processes_in(path_); }

std::optional<uint64_t> Cgroup::cpu_ns() const {
  const std::optional<uint64_t> us = value_in(path_ + "/cpu.stat", "usage_usec");
  return us ? std::optional(*us * 1000) : std::nullopt;
}

uint64_t Cgroup::out_of_memory() const {
  return value_in(path_ + "/memory.events", "oom_kill").value_or(0);
}

// --- all of them --------------------------------------------------------------------------------

Cgroups::Cgroups(boost::asio::io_context& io, CgroupPlace place)
    : io_(io), place_(std::move(place)) {}

Cgroups::~Cgroups() {
  mover_.join();
  for (const std::string& path : leaving_)
    remove_group(path);
}

Result<std::unique_ptr<Cgroup>> Cgroups::make(const std::string& name, const CgroupLimits& limits) {
  const std::string path = place_.path() + "/" + name;
  if (mkdir(path.c_str(), 0755) != 0) return sys_error("make " + path);
  std::unique_ptr<Cgroup> made(new Cgroup(*this, path));
  const auto bound = [&](const char* controller, const char* file, uint64_t most) -> Result<void> {
    if (most == 0 || !place_.bounds(controller)) return {};
    return write_file(path + "/" + file, std::to_string(most));
  };
  if (Result<void> done = bound("memory", "memory.max", limits.memory); !done) return done.error();
  if (limits.memory != 0)  // where there is swap, which is not counted then
    (void)static_cast<bool>(write_file(path + "/memory.swap.max", "0"));
  if (Result<void> done = bound("pids", "pids.max", limits.tasks); !done) return done.error();
  return made;
}

void Cgroups::sweep() {
  std::erase_if(leaving_,
                [](const std::string& path) { return rmdir(path.c_str()) == 0 || errno != EBUSY; });
}

}  // namespace brood
