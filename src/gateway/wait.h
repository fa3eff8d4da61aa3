// Engine::wait, for the sources of the engine.
#pragma once

#include "gateway/engine.h"

namespace brood::gateway {

// Sleeps until `ready()`, which is asked under the lock, after each wake(what). Meanwhile the
// thread reads the link on the way to `peer` itself, if nobody else does; kNobody: it only sleeps.
template <typename Ready>
Wait Engine::wait(Lock& lock, const void* what, uint32_t peer, int64_t deadline, Ready ready) {
  if (ready()) return Wait::kDone;
  std::unique_ptr<Waiter> waiter = take_waiter();
  Link* led = nullptr;
  Wait result = Wait::kDone;
  while (!ready()) {
    if (stopping_) {
      result = Wait::kEnded;
      break;
    }
    if (!dirty_.empty()) {
      flush_all(lock);
      continue;
    }
    Link* wanted = peer == kNobody ? nullptr : next_hop(peer);
    if (led != nullptr && (led != wanted || led->held)) {
      stop_leading(*led);
      led = nullptr;
    }
    if (led == nullptr && wanted != nullptr && lead(*wanted)) led = wanted;
    result = sleep(lock, *waiter, what, wanted, led != nullptr, deadline);
    if (result != Wait::kDone) break;
  }
  if (led != nullptr) stop_leading(*led);
  give_back(std::move(waiter));
  return result != Wait::kDone && result != Wait::kEnded && ready() ? Wait::kDone : result;
}

}  // namespace brood::gateway
