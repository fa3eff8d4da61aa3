#include "daemon/startup.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/socket.h"
#include "base/sys.h"

namespace brood {
namespace {

constexpr int kBacklog = 128;
constexpr int kFirstInherited = 3;  // systemd's SD_LISTEN_FDS_START
constexpr time_t kResolvedAge =
    7 * 86400;                  // seconds; a configuration file's older states are of no use
constexpr size_t kMaxPid = 32;  // bytes in the lock file
constexpr int kLockPauseMs = 20;
constexpr int kLockTries = 150;  // a daemon that leaves is gone long before

void remove_files(const std::string& folder, const std::function<bool(const struct stat&)>& which) {
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir(folder.c_str()), closedir);
  if (!dir) return;
  while (const dirent* entry = readdir(dir.get())) {
    struct stat st;
    if (fstatat(dirfd(dir.get()), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (!S_ISDIR(st.st_mode) && which(st)) unlinkat(dirfd(dir.get()), entry->d_name, 0);
  }
}

void close_all_but(std::span<const int> keep) {
  std::vector<int> kept(keep.begin(), keep.end());
  std::sort(kept.begin(), kept.end());
  unsigned from = 3;
  for (const int fd : kept) {
    const auto number = static_cast<unsigned>(fd);
    if (number > from) close_range(from, number - 1, 0);
    from = std::max(from, number + 1);
  }
  close_range(from, ~0U, 0);
}

Result<void> redirect(int fd, const std::string& path, int flags) {
  Fd file(open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file || dup2(file.get(), fd) < 0) return sys_error("open " + path);
  return {};
}

// Goes on in a grandchild. The caller's process reaps the child in between and ends as it did: with
// status 0 once the grandchild exists.
Result<void> continue_in_grandchild() {
  const pid_t child = fork();
  if (child < 0) return sys_error("fork");
  if (child > 0) {
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    _exit(status == 0 ? 0 : 1);
  }
  setsid();
  const pid_t grandchild = fork();
  if (grandchild != 0) _exit(grandchild < 0 ? 1 : 0);
  return {};
}

}  // namespace

Fd inherited_listener() {
  const char* pid = getenv("LISTEN_PID");
  const char* count = getenv("LISTEN_FDS");
  const bool ours = pid && count && atoi(pid) == getpid() && atoi(count) >= 1;
  for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"})
    unsetenv(name);
  int listens = 0;
  socklen_t size = sizeof listens;
  if (!ours || getsockopt(kFirstInherited, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 ||
      !listens)
    return {};
  fcntl(kFirstInherited, F_SETFD, FD_CLOEXEC);
  return Fd(kFirstInherited);
}

Result<std::optional<Fd>> lock_directory(const RuntimeDir& dir, bool inherited) {
  const std::string path = dir.path + "/daemon.lock";
  Fd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return sys_error("open " + path);
  for (int i = 0; i < kLockTries; i++) {
    if (flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return std::optional<Fd>(std::move(fd));
    if (errno != EWOULDBLOCK && errno != EINTR) return sys_error("lock " + path);
    if (!inherited && connect_unix(dir.daemon_socket())) return std::optional<Fd>();
    poll(nullptr, 0, kLockPauseMs);  // the other one is starting or leaving
  }
  Result<std::string> pid = read_file(path, kMaxPid);
  return Error{"another daemon holds " + path + "; end it: kill " + (pid ? *pid : "")};
}

void sign_lock(int lock) {
  const std::string pid = std::to_string(getpid());
  if (ftruncate(lock, 0) == 0) (void)static_cast<bool>(write_all(lock, pid));
}

Result<Fd> open_listener(const RuntimeDir& dir) {
  const std::string temporary = dir.daemon_socket() + ".new";
  unlink(temporary.c_str());
  Result<Fd> fd = listen_unix(temporary, kBacklog);
  if (!fd) return fd;
  if (rename(temporary.c_str(), dir.daemon_socket().c_str()) != 0)
    return sys_error("rename to " + dir.daemon_socket());
  return fd;
}

void remove_left_overs(const RuntimeDir& dir) {
  for (const char* folder : {"/env", "/failed"})
    remove_files(dir.path + folder, [](const struct stat&) { return true; });
  const time_t oldest = time(nullptr) - kResolvedAge;
  remove_files(dir.path + "/resolved",
               [oldest](const struct stat& st) { return st.st_mtim.tv_sec < oldest; });
}

Result<void> go_to_background(const RuntimeDir& dir, std::span<const int> keep) {
  std::fflush(nullptr);
  if (Result<void> moved = continue_in_grandchild(); !moved) return moved;
  if (chdir("/") != 0) return sys_error("change to /");
  if (Result<void> done = redirect(0, "/dev/null", O_RDONLY); !done) return done;
  // A log that cannot be written must not keep the daemon from serving.
  const bool logged = static_cast<bool>(redirect(1, dir.log_file(), O_WRONLY | O_CREAT | O_APPEND));
  if (!logged)
    if (Result<void> done = redirect(1, "/dev/null", O_WRONLY); !done) return done;
  dup2(1, 2);
  close_all_but(keep);
  return {};
}

Installation::Installation(std::string program, std::string module)
    : paths_{std::move(program), std::move(module)},
      identities_{identify(paths_[0].c_str()), identify(paths_[1].c_str())} {}

bool Installation::unchanged() const {
  return identify(paths_[0].c_str()) == identities_[0] &&
         identify(paths_[1].c_str()) == identities_[1];
}

void reset_signals() {
  for (int number = 1; number < NSIG; number++)
    signal(number, SIG_DFL);
  signal(SIGPIPE, SIG_IGN);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

}  // namespace brood
