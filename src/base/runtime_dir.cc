#include "base/runtime_dir.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "base/sys.h"

namespace brood {

RuntimeDir runtime_dir() {
  const char* base = getenv("XDG_RUNTIME_DIR");
  if (base && base[0] == '/') return {std::string(base) + "/brood"};
  return {"/tmp/brood-" + std::to_string(getuid())};
}

Result<void> check(const RuntimeDir& dir) {
  struct stat st;
  if (lstat(dir.path.c_str(), &st) != 0) return sys_error("use the runtime directory " + dir.path);
  if (!S_ISDIR(st.st_mode))
    return Error{"the runtime directory " + dir.path + " is not a directory; remove it"};
  if (st.st_uid != geteuid())
    return Error{"the runtime directory " + dir.path + " belongs to user " +
                 std::to_string(st.st_uid) + "; set XDG_RUNTIME_DIR to a directory of your own"};
  if ((st.st_mode & 07777) != 0700)
    return Error{"the runtime directory " + dir.path + " is open to others; chmod 0700 it"};
  return {};
}

Result<void> create(const RuntimeDir& dir) {
  if (mkdir(dir.path.c_str(), 0700) != 0 && errno != EEXIST)
    return sys_error("make the runtime directory " + dir.path);
  if (Result<void> good = check(dir); !good) return good;
  for (const char* folder : {"/env", "/failed", "/resolved"})
    if (mkdir((dir.path + folder).c_str(), 0700) != 0 && errno != EEXIST)
      return sys_error("make " + dir.path + folder);
  return {};
}

}  // namespace brood
