// Files with secrets: read only when nobody else can have read or written them. Any process, any
// thread.
#pragma once

#include <cstddef>
#include <string>

#include "base/result.h"

namespace brood {

enum class Secrecy {
  kOwnerOnly,   // belongs to us, and no one else may read or write it (mode 0600)
  kRootsGroup,  // or belongs to root, whose group may read it (mode 0640), as TLS keys do
};

// A regular file of at most `limit` bytes. An Error names the file and what to do; its code is
// ENOENT when there is no such file. A FIFO or a device is refused, not waited for.
Result<std::string> read_private_file(const std::string& path, size_t limit,
                                      Secrecy secrecy = Secrecy::kOwnerOnly);

// Makes the folder and those above it, with mode 0700, unless they are there.
Result<void> make_folder(const std::string& path);

}  // namespace brood
