#include "base/fd.h"

#include <unistd.h>

#include <cerrno>

namespace brood {

void Fd::reset(int fd) {
  if (fd_ >= 0) {
    const int saved = errno;  // closing must not hide the error that made us close
    close(fd_);
    errno = saved;
  }
  fd_ = fd;
}

}  // namespace brood
