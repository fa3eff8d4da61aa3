// Folder: a session's working directory, and what clients may do in it. Every path is resolved by
// the kernel beneath the folder, without symbolic links (openat2 with RESOLVE_BENEATH and
// RESOLVE_NO_SYMLINKS), for the session's own programs may put anything there at any time. Server
// process; the calls block for the file system only.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <variant>

#include "base/fd.h"
#include "base/result.h"
#include "session/api.h"

namespace brood {

class Folder {
 public:
  Folder() = default;
  // Makes it, mode 0700.
  static Result<Folder> make(const std::string& path);
  bool is_empty() const;
  // A child process that copies all of it to `other` (cp -a, which shares blocks where the file
  // system can); its status is 0 when it has.
  Result<pid_t> start_copy(const Folder& other) const;
  Folder(Folder&&) = default;
  Folder& operator=(Folder&&) = default;

  const std::string& path() const { return path_; }
  int descriptor() const { return directory_.get(); }
  // With everything in it: a child process that removes it; 0: it was empty, and is gone. What a
  // process that is about to die still adds is removed by the next call.
  Result<pid_t> start_removal();

  template <typename T>
  using Or = std::variant<T, Problem>;
  Or<nlohmann::json> list(const std::string& path) const;
  // Offset 0 makes the file anew; else it must be the file's size so far. Returns the new size.
  Or<uint64_t> put(const std::string& path, uint64_t offset, std::string_view bytes,
                   uint64_t limit);
  struct Piece {
    std::string bytes;
    uint64_t size = 0;  // of the file
    bool eof = false;
  };
  Or<Piece> get(const std::string& path, uint64_t offset, uint64_t length) const;
  Or<bool> erase(const std::string& path);  // a file or an empty folder

 private:
  std::string path_;
  Fd directory_;
};

}  // namespace brood
