// Waiter: a thread that waits for something of the engine. It sleeps in poll(2), on an eventfd of
// its own and, if it leads, on a link's descriptor, so that a signal ends the wait (EINTR).
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>

#include "base/fd.h"

namespace brood::gateway {

class Link;

struct Waiter {
  Waiter() : event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

  // Under the engine's lock.
  void wake() {
    if (!sleeping) return;
    sleeping = false;
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t wrote = write(event.get(), &one, sizeof one);
  }
  void drain() {
    uint64_t count;
    [[maybe_unused]] const ssize_t got = read(event.get(), &count, sizeof count);
  }

  const Fd event;
  bool sleeping = false;
  Link* wanted = nullptr;      // the link that it would read itself
  const void* what = nullptr;  // the channel or queue that it waits for
};

}  // namespace brood::gateway
