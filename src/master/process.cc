#include "master/process.h"

#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "base/clock.h"
#include "base/sys.h"

extern char** environ;

namespace brood::master {
namespace {

// What posix_spawn() wants to know.
class Form {
 public:
  Form(int link, int complaints, bool leads) {
    posix_spawn_file_actions_init(&actions_);
    posix_spawn_file_actions_adddup2(&actions_, link, 0);
    posix_spawn_file_actions_adddup2(&actions_, link, 1);
    posix_spawn_file_actions_adddup2(&actions_, complaints, 2);
    posix_spawnattr_init(&attributes_);
    sigset_t signals;
    sigemptyset(&signals);
    posix_spawnattr_setsigmask(&attributes_, &signals);
    for (int number : {SIGINT, SIGPIPE, SIGXFSZ})
      sigaddset(&signals, number);
    posix_spawnattr_setsigdefault(&attributes_, &signals);
    posix_spawnattr_setpgroup(&attributes_, 0);
    const int group = leads ? POSIX_SPAWN_SETPGROUP : 0;
    posix_spawnattr_setflags(
        &attributes_, static_cast<short>(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | group));
  }
  ~Form() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }
  Form(const Form&) = delete;
  Form& operator=(const Form&) = delete;

  int spawn(const std::vector<std::string>& words, pid_t& pid) const {
    std::vector<char*> argv;
    argv.reserve(words.size() + 1);
    for (const std::string& word : words)
      argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    return posix_spawnp(&pid, argv[0], &actions_, &attributes_, argv.data(), environ);
  }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

}  // namespace

Result<std::unique_ptr<Process>> Process::start(const std::vector<std::string>& words, int link,
                                                int complaints, bool leads) {
  constexpr int kFirst = 3;  // none of those that are replaced
  const Fd input = duplicate_above(link, kFirst);
  const Fd errors = duplicate_above(complaints, kFirst);
  if (!input || !errors) return sys_error("duplicate a descriptor");
  pid_t pid = 0;
  const int error = Form(input.get(), errors.get(), leads).spawn(words, pid);
  if (error != 0) return sys_error("execute " + words.front(), error);
  Fd handle(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  return std::unique_ptr<Process>(new Process(pid, std::move(handle), leads));
}

Process::~Process() {
  kill();
  wait(monotonic_ns() + kSecond);
}

std::optional<int> Process::reap() {
  const std::lock_guard lock(mutex_);
  if (status_) return status_;
  int status = 0;
  const pid_t got = waitpid(pid_, &status, WNOHANG);
  if (got == pid_)
    status_ = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
  else if (got < 0 && errno == ECHILD)
    status_ = 0;
  return status_;
}

std::optional<int> Process::wait(int64_t deadline) {
  while (true) {
    if (const std::optional<int> status = reap()) return status;
    const int64_t left = deadline - monotonic_ns();
    if (left <= 0) return std::nullopt;
    // Rounded up. Without a pidfd (no descriptors are left) it looks again after a while.
    constexpr int64_t kMillisecond = 1'000'000, kLongest = 60'000, kPause = 10;
    const int64_t most = std::min(left / kMillisecond + 1, handle_ ? kLongest : kPause);
    pollfd polled{handle_.get(), POLLIN, 0};
    poll(&polled, 1, static_cast<int>(most));
  }
}

void Process::kill() {
  const std::lock_guard lock(mutex_);
  if (status_) return;
  if (leads_) ::kill(-pid_, SIGKILL);
  ::kill(pid_, SIGKILL);
}

}  // namespace brood::master
