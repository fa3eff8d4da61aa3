#include "base/sys.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/clock.h"

namespace brood {

Error sys_error(std::string_view what, int error_number) {
  std::string message = "cannot ";
  message.append(what).append(": ").append(std::strerror(error_number));
  return Error{std::move(message), error_number};
}

Error sys_error(std::string_view what) { return sys_error(what, errno); }

FileIdentity identify(int directory_fd, const char* path) {
  struct stat st;
  if (fstatat(directory_fd, path, &st, 0) != 0) return {};
  return FileIdentity{st.st_dev, st.st_ino, static_cast<uint64_t>(st.st_size),
                      st.st_mtim.tv_sec * kSecond + st.st_mtim.tv_nsec,
                      st.st_ctim.tv_sec * kSecond + st.st_ctim.tv_nsec};
}

FileIdentity identify(const char* path) { return identify(AT_FDCWD, path); }

Result<std::string> read_file(const std::string& path, size_t limit) {
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return sys_error("open " + path);
  std::string text;
  std::array<char, 16384> buffer;
  for (;;) {
    const ssize_t got = read(fd.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return sys_error("read " + path);
    if (got == 0) return text;
    if (text.size() + static_cast<size_t>(got) > limit)
      return Error{path + " is longer than " + std::to_string(limit) + " bytes"};
    text.append(buffer.data(), static_cast<size_t>(got));
  }
}

Result<void> write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = write(fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return sys_error("write");
    bytes.remove_prefix(static_cast<size_t>(put));
  }
  return {};
}

Result<void> replace_file(const std::string& path, std::string_view bytes) {
  const std::string temporary = path + ".new-" + std::to_string(getpid());
  Fd fd(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return sys_error("create " + temporary);
  Result<void> written = write_all(fd.get(), bytes);
  fd.reset();
  if (written && rename(temporary.c_str(), path.c_str()) != 0)
    written = sys_error("rename to " + path);
  if (!written) unlink(temporary.c_str());
  return written;
}

std::string read_link(const char* path) {
  std::array<char, 4096> target;
  const ssize_t length = readlink(path, target.data(), target.size());
  return length < 0 ? std::string() : std::string(target.data(), static_cast<size_t>(length));
}

Fd duplicate_above(int fd, int lowest) { return Fd(fcntl(fd, F_DUPFD_CLOEXEC, lowest)); }

}  // namespace brood
