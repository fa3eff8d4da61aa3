#include "worker/room.h"

#include <fcntl.h>

#include <string>
#include <vector>

#include "base/fd.h"
#include "base/sys.h"

namespace brood {

RoomForDescriptors::RoomForDescriptors() {
  if (getrlimit(RLIMIT_NOFILE, &before_) != 0 || before_.rlim_cur >= before_.rlim_max) return;
  const rlimit most{before_.rlim_max, before_.rlim_max};
  raised_ = setrlimit(RLIMIT_NOFILE, &most) == 0;
}

RoomForDescriptors::~RoomForDescriptors() {
  if (raised_) setrlimit(RLIMIT_NOFILE, &before_);
}

Result<void> RoomForDescriptors::check(int highest, size_t more) const {
  if (before_.rlim_max <= static_cast<rlim_t>(highest))
    return Error{"the session has lowered its hard limit of open files (RLIMIT_NOFILE) to " +
                 std::to_string(before_.rlim_max) + ", going back needs " +
                 std::to_string(highest + 1)};
  std::vector<Fd> tried;
  for (size_t i = 0; i < more; i++) {
    tried.emplace_back(fcntl(highest, F_DUPFD_CLOEXEC, 0));
    if (!tried.back())
      return sys_error("open " + std::to_string(more) + " more files, which going back needs");
  }
  return {};
}

}  // namespace brood
