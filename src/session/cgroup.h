// Control groups (v2, the kernel's Documentation/admin-guide/cgroup-v2.rst) of sessions, where the
// server has a part of the tree for itself:
//
//   PLACE/brood-PID/server    the server, its zygotes and spares
//   PLACE/brood-PID/ID        a session: its worker, what it has started, its frozen copies
//
// A group tells exactly whose a process is, also one that has left its parent, its process group
// and its folder, and bounds memory and the number of tasks between two looks of the server.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "daemon/asio.h"

namespace brood {

// PLACE/brood-PID, in whose `server` this process is. Made before the process becomes another user
// and before it has threads or children; the destructor leaves it and removes it. Moves only.
class CgroupPlace {
 public:
  // `where`: "off"; "auto": the own group, if this process is alone in it and may make others, as
  // under systemd's Delegate=yes; else a folder of a cgroup v2 file system. `owner`: who is to
  // manage it. Nothing: there is none, or (auto) it cannot be had. An error: the folder that was
  // named cannot be used.
  static Result<std::optional<CgroupPlace>> claim(const std::string& where, uid_t owner);
  CgroupPlace(CgroupPlace&& other) noexcept;
  CgroupPlace& operator=(CgroupPlace&&) = delete;
  ~CgroupPlace();

  const std::string& path() const { return path_; }
  // "memory", "pids": which groups in it can bound.
  bool bounds(const std::string& controller) const;

 private:
  CgroupPlace(std::string path, std::string former)
      : path_(std::move(path)), former_(std::move(former)) {}
  Result<void> set_up(const std::string& place, uid_t owner);

  std::string path_;
  std::string former_;  // the group that the process was in
};

struct CgroupLimits {
  uint64_t memory = 0;  // bytes; 0: no limit
  uint64_t tasks = 0;
};

// The group of one session. Its destructor ends (SIGKILL) all that is in it.
class Cgroup {
 public:
  using Joined = std::function<void(Result<void>)>;

  ~Cgroup();
  Cgroup(const Cgroup&) = delete;

  // Moves a process here, with what it starts from then on. The kernel takes some milliseconds for
  // it (it waits for all processors), so that a thread does it; calls back from the event loop.
  void join(pid_t pid, Joined joined);
  std::vector<pid_t> members() const;
  // Nanoseconds that all that was ever in it have used; nothing: the kernel does not tell.
  std::optional<uint64_t> cpu_ns() const;
  uint64_t out_of_memory() const;  // how often the kernel has ended a process for `memory`

 private:
  friend class Cgroups;
  Cgroup(class Cgroups& all, std::string path) : all_(all), path_(std::move(path)) {}

  Cgroups& all_;
  const std::string path_;
};

// Makes groups, and removes them once they are empty. Server process, its one thread.
class Cgroups {
 public:
  Cgroups(boost::asio::io_context& io, CgroupPlace place);
  ~Cgroups();  // after all groups
  Cgroups(const Cgroups&) = delete;

  Result<std::unique_ptr<Cgroup>> make(const std::string& name, const CgroupLimits& limits);
  void sweep();  // a few times a second

 private:
  friend class Cgroup;

  boost::asio::io_context& io_;
  const CgroupPlace place_;
  boost::asio::thread_pool mover_{1};
  std::vector<std::string> leaving_;  // of groups that are gone, until nothing is in them
};

}  // namespace brood
