#include "base/signals.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace brood {
namespace {

// The kernel's struct sigaction, which is not glibc's.
struct KernelAction {
  void (*handler)(int) = SIG_DFL;
  unsigned long flags = 0;
  void (*restorer)() = nullptr;
  uint64_t mask = 0;
};

}  // namespace

uint64_t ignored_signals() {
  uint64_t mask = 0;
  for (int number = 1; number <= kSignals; number++) {
    KernelAction action;
    if (syscall(SYS_rt_sigaction, number, nullptr, &action, sizeof action.mask) == 0 &&
        action.handler == SIG_IGN)
      mask |= signal_bit(number);
  }
  return mask;
}

uint64_t blocked_signals() {
  uint64_t mask = 0;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, nullptr, &mask, sizeof mask);
  return mask;
}

void set_blocked_signals(uint64_t mask) {
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, nullptr, sizeof mask);
}

void set_disposition(int number, Disposition disposition) {
  KernelAction action;
  if (disposition == Disposition::kIgnore) action.handler = SIG_IGN;
  syscall(SYS_rt_sigaction, number, &action, nullptr, sizeof action.mask);
}

}  // namespace brood
