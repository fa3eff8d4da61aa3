// System calls with context: what was tried, on what, and why it failed. Any process, any thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"

namespace brood {

// "cannot <what>: <strerror>", with errno as the code.
Error sys_error(std::string_view what, int error_number);
Error sys_error(std::string_view what);  // from errno

// What tells two states of a file apart. All zero: the file does not exist (or cannot be reached).
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t size = 0;     // bytes
  int64_t mtime_ns = 0;  // nanoseconds since the epoch
  int64_t ctime_ns = 0;  // the same; sees an edit that put the old mtime back

  bool exists() const { return inode != 0; }
  bool operator==(const FileIdentity&) const = default;
};

FileIdentity identify(const char* path);  // follows symbolic links
FileIdentity identify(int directory_fd, const char* path);

// Whole file, at most `limit` bytes; longer is an error.
Result<std::string> read_file(const std::string& path, size_t limit);

// Writes all of it or fails; retries EINTR and short writes.
Result<void> write_all(int fd, std::string_view bytes);

// Writes a temporary file beside `path` (mode 0600) and renames it, so that readers see all of it
// or the old one.
Result<void> replace_file(const std::string& path, std::string_view bytes);

// Reads a symbolic link; empty when it is none.
std::string read_link(const char* path);

// Duplicates `fd` close-on-exec at a number of at least `lowest`; invalid on failure (errno says
// why).
Fd duplicate_above(int fd, int lowest);

}  // namespace brood
