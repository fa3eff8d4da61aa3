#include "worker/lifeline.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

namespace brood {

void die_with(int connection) {
  fcntl(connection, F_SETOWN, getpid());
  fcntl(connection, F_SETSIG, SIGKILL);
  fcntl(connection, F_SETFL, O_RDWR | O_ASYNC);
  pollfd item{connection, POLLRDHUP, 0};
  if (poll(&item, 1, 0) > 0) raise(SIGKILL);
}

void outlive(int connection) { fcntl(connection, F_SETFL, O_RDWR); }

}  // namespace brood
