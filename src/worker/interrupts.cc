#include "worker/interrupts.h"

#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

namespace brood {
namespace {

constexpr long kNudgeNs = 20'000'000;
constexpr int kNudges = 25;

struct sigaction pythons = {};
// A copy of the process has no timers: it makes its own. The kernel's number of it, not glibc's.
int timer = 0;
std::atomic<pid_t> timer_owner = 0;
std::atomic<int> nudges_left = 0;

// Not SIGINT: the program may give that another meaning at any moment.
int nudge() { return SIGRTMAX; }

void on_nudge(int);

bool have_timer() {
  struct sigaction action = {};
  if (sigaction(nudge(), nullptr, &action) != 0) return false;
  if (action.sa_handler != SIG_DFL && action.sa_handler != on_nudge) return false;  // it is taken
  action = {};
  action.sa_handler = on_nudge;  // without SA_RESTART
  sigaction(nudge(), &action, nullptr);
  if (timer_owner == getpid()) return true;
  sigevent event = {};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = nudge();
  event._sigev_un._tid = getpid();  // the main thread
  if (syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer) != 0) return false;
  timer_owner = getpid();
  return true;
}

// Once, so that none comes after another handler was put in the place of ours; 0: not any more.
void set_timer(long after_ns) {
  const itimerspec when = {{0, 0}, {0, after_ns}};
  syscall(SYS_timer_settime, timer, 0, &when, nullptr);
}

void on_nudge(int) {
  const int kept = errno;
  if (nudges_left.fetch_sub(1) > 1 && timer_owner == getpid()) set_timer(kNudgeNs);
  errno = kept;
}

void on_sigint(int number, siginfo_t* info, void* context) {
  const int kept = errno;
  if (pythons.sa_flags & SA_SIGINFO)
    pythons.sa_sigaction(number, info, context);
  else
    pythons.sa_handler(number);
  nudges_left = kNudges;
  if (have_timer()) set_timer(kNudgeNs);
  errno = kept;
}

}  // namespace

void watch_interrupts() {
  struct sigaction now = {};
  if (sigaction(SIGINT, nullptr, &now) != 0 || now.sa_sigaction == on_sigint ||
      now.sa_handler == SIG_IGN || now.sa_handler == SIG_DFL)
    return;
  pythons = now;
  now.sa_sigaction = on_sigint;
  now.sa_flags |= SA_SIGINFO;
  sigaction(SIGINT, &now, nullptr);
}

void interrupt_heard() {
  if (timer_owner == getpid()) set_timer(0);
}

}  // namespace brood
