#include "session/reaper.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "base/sys.h"
#include "daemon/memory.h"

namespace brood {
namespace {

// glibc 2.36 has no P_PIDFD in every header.
constexpr auto kPidfd = static_cast<idtype_t>(3);

bool is_zombie(pid_t pid) {
  Result<std::string> stat = read_file("/proc/" + std::to_string(pid) + "/stat", 4096);
  if (!stat) return false;
  const size_t close = stat->rfind(')');
  return close != std::string::npos && close + 2 < stat->size() && (*stat)[close + 2] == 'Z';
}

}  // namespace

std::optional<ProcessEnd> reap_process(int pidfd) {
  siginfo_t info{};
  if (waitid(kPidfd, static_cast<id_t>(pidfd), &info, WEXITED | WNOHANG) != 0 || info.si_pid == 0)
    return std::nullopt;
  return ProcessEnd{info.si_code != CLD_EXITED, info.si_status};
}

Reaper::Reaper(boost::asio::io_context& io) : io_(io) {}

void Reaper::watch(pid_t pid, Fd pidfd, Ended ended) {
  if (!pidfd) return ended ? ended(std::nullopt) : void();
  watched_.insert(pid);
  entries_.push_front(
      {pid, boost::asio::posix::stream_descriptor(io_, pidfd.release()), std::move(ended)});
  wait(entries_.begin());
}

void Reaper::wait(std::list<Entry>::iterator entry) {
  entry->process.async_wait(boost::asio::posix::descriptor_base::wait_read,
                            guard_.wrap([this, entry](auto) {
                              const auto how = reap_process(entry->process.native_handle());
                              const Ended ended = std::move(entry->ended);
                              watched_.erase(entry->pid);
                              entries_.erase(entry);
                              if (ended) ended(how);
                            }));
}

void Reaper::end(pid_t pid) {
  Fd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!process) return;
  syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0);
  if (!watches(pid)) watch(pid, std::move(process));
}

std::vector<pid_t> Reaper::reap_strangers(const std::set<pid_t>& known) {
  std::vector<pid_t> alive;
  for (const pid_t pid : children_of(getpid())) {
    if (watches(pid) || known.contains(pid)) continue;
    if (is_zombie(pid))
      waitpid(pid, nullptr, WNOHANG);
    else
      alive.push_back(pid);
  }
  return alive;
}

}  // namespace brood
