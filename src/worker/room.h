// Room for descriptors where a session's code has lowered RLIMIT_NOFILE or has used it up: brood's
// own have high numbers, and a copy that becomes the session gets new ones. Worker process.
#pragma once

#include <sys/resource.h>

#include <cstddef>

#include "base/result.h"

namespace brood {

// While it lives the soft limit is the hard one. Not longer than a few system calls: all threads
// share it.
class RoomForDescriptors {
 public:
  RoomForDescriptors();
  ~RoomForDescriptors();
  RoomForDescriptors(const RoomForDescriptors&) = delete;

  // An Error: the number `highest` cannot be given to another descriptor, or no `more` could be
  // opened.
  Result<void> check(int highest, size_t more) const;

 private:
  rlimit before_{};
  bool raised_ = false;
};

}  // namespace brood
