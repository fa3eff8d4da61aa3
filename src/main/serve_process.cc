#include "main/serve_process.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/sys.h"
#include "daemon/startup.h"

namespace brood {
namespace {

constexpr int kMostServers = 64;  // of one user

std::string cache_folder() {
  if (const char* cache = getenv("XDG_CACHE_HOME"); cache && *cache == '/') return cache;
  if (const char* home = getenv("HOME"); home && *home == '/') return std::string(home) + "/.cache";
  return "/var/tmp/brood-" + std::to_string(getuid());
}

Result<void> make_own_folder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  struct stat st;
  if (error || lstat(path.c_str(), &st) != 0 || !S_ISDIR(st.st_mode))
    return Error{"the folder " + path + " cannot be made; say another one: folder in [serve]"};
  if (st.st_uid != geteuid()) return Error{"the folder " + path + " belongs to another user"};
  if (chmod(path.c_str(), 0700) != 0) return sys_error("make " + path + " private");
  return {};
}

}  // namespace

void open_standard_streams() {
  int null = 0;
  while (null >= 0 && null <= STDERR_FILENO)
    null = open("/dev/null", O_RDWR);
  if (null >= 0) close(null);
}

Result<void> become_user(const std::string& name) {
  const passwd* user = getpwnam(name.c_str());
  if (!user) return Error{"there is no user " + name + " to become"};
  if (user->pw_uid == geteuid()) return {};
  if (geteuid() != 0) return Error{"only root can become the user " + name};
  const std::string home = user->pw_dir;
  const uid_t uid = user->pw_uid;
  const gid_t gid = user->pw_gid;
  if (initgroups(name.c_str(), gid) != 0 || setresgid(gid, gid, gid) != 0 ||
      setresuid(uid, uid, uid) != 0)
    return sys_error("become the user " + name);
  setenv("HOME", home.c_str(), 1);
  setenv("USER", name.c_str(), 1);
  setenv("LOGNAME", name.c_str(), 1);
  for (const char* variable :
       {"XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"})
    unsetenv(variable);
  return {};
}

Result<uid_t> user_number(const std::string& name) {
  if (name.empty()) return geteuid();
  const passwd* user = getpwnam(name.c_str());
  if (!user) return Error{"there is no user " + name + " to become"};
  return user->pw_uid;
}

void raise_open_files() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

namespace {

// Empty: another server has it.
Result<Fd> take_lock(const std::string& path) {
  Fd lock(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock) return sys_error("open " + path);
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) return Fd();
  sign_lock(lock.get());
  return lock;
}

}  // namespace

Result<ServeFolder> claim_folder(const std::string& work) {
  const RuntimeDir base = runtime_dir();
  if (Result<void> made = create(base); !made) return made.error();
  const std::string all_work = work.empty() ? cache_folder() + "/brood/sessions" : work;
  if (Result<void> made = make_own_folder(all_work); !made) return made.error();
  for (int number = 1; number <= kMostServers; number++) {
    const std::string suffix = number == 1 ? "" : "-" + std::to_string(number);
    ServeFolder folder;
    folder.dir.path = base.path + "/serve" + suffix;
    if (Result<void> made = create(folder.dir); !made) return made.error();
    Result<Fd> lock = take_lock(folder.dir.path + "/serve.lock");
    if (!lock) return lock.error();
    if (!*lock) continue;
    folder.lock = std::move(*lock);
    folder.work = all_work + "/serve" + suffix;
    Result<Fd> work_lock = take_lock(folder.work + ".lock");
    if (!work_lock) return work_lock.error();
    if (!*work_lock) continue;
    folder.work_lock = std::move(*work_lock);
    remove_left_overs(folder.dir);
    std::error_code ignored;
    std::filesystem::remove_all(folder.work, ignored);
    if (Result<void> made = make_own_folder(folder.work); !made) return made.error();
    return folder;
  }
  return Error{std::to_string(kMostServers) + " servers of yours run already"};
}

}  // namespace brood
