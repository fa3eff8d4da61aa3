#include "auth/private_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/fd.h"
#include "base/sys.h"

namespace brood {
namespace {

Result<void> check_private(const std::string& path, const struct stat& st, Secrecy secrecy) {
  if (!S_ISREG(st.st_mode)) return Error{path + " is not a regular file"};
  const bool roots = st.st_uid == 0 && secrecy == Secrecy::kRootsGroup;
  if (st.st_uid != geteuid() && !roots)
    return Error{path + " belongs to user " + std::to_string(st.st_uid) + "; expected user " +
                 std::to_string(geteuid())};
  const unsigned forbidden = roots ? 0037 : 0077;
  if ((st.st_mode & forbidden) != 0)
    return Error{path + " is open to others; make it private with chmod " +
                 (roots ? "0640 or 0600" : "0600")};
  return {};
}

}  // namespace

Result<std::string> read_private_file(const std::string& path, size_t limit, Secrecy secrecy) {
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) return sys_error("open " + path);
  struct stat st;
  if (fstat(fd.get(), &st) != 0) return sys_error("look at " + path);
  if (Result<void> good = check_private(path, st, secrecy); !good) return good.error();
  std::string text(
      limit + 1 < static_cast<size_t>(st.st_size) ? limit + 1 : static_cast<size_t>(st.st_size) + 1,
      '\0');
  size_t length = 0;
  while (length < text.size()) {
    const ssize_t got = read(fd.get(), text.data() + length, text.size() - length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return sys_error("read " + path);
    if (got == 0) break;
    length += static_cast<size_t>(got);
  }
  if (length > limit) return Error{path + " is longer than " + std::to_string(limit) + " bytes"};
  text.resize(length);
  return text;
}

Result<void> make_folder(const std::string& path) {
  for (size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    if (mkdir(part.c_str(), 0700) != 0 && errno != EEXIST && !identify(part.c_str()).exists())
      return sys_error("make the folder " + part);
    if (slash == path.npos) return {};
  }
}

}  // namespace brood
