#include "worker/orphan.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <cerrno>

#include "base/signals.h"
#include "base/sys.h"

namespace brood {
namespace {

constexpr size_t kHelperStack = 256u << 10;  // bytes; handlers of pthread_atfork() run on it

struct Attempt {
  ucontext_t caller;
  volatile bool in_copy = false;
  int error = 0;
};

// Null when there is no memory for it (errno), as under RLIMIT_DATA. Its variables are not to be
// those of a function that returns twice.
[[gnu::noinline]] char* helper_stack() {
  static char* stack = nullptr;
  if (stack) return stack;
  void* memory = mmap(nullptr, kHelperStack, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (memory != MAP_FAILED) stack = static_cast<char*>(memory);
  return stack;
}

// The helper process: it shares the memory and the thread-local storage of the caller, which stands
// still until this returns.
int help(void* argument) {
  auto& attempt = *static_cast<Attempt*>(argument);
  const pid_t child = fork();
  if (child == 0) {
    attempt.in_copy = true;
    setcontext(&attempt.caller);  // does not return
  }
  attempt.error = child < 0 ? errno : 0;
  if (child > 0) setpgid(child, child);  // here: before anybody can kill the original's group
  return 0;
}

}  // namespace

std::variant<InOriginal, InCopy, Error> fork_orphan() {
  Attempt attempt;
  char* const stack = helper_stack();
  if (!stack) return sys_error("get memory for the stack of a fork");
  const uint64_t mask = blocked_signals();
  set_blocked_signals(~uint64_t{0});
  getcontext(&attempt.caller);  // the copy comes back here
  if (attempt.in_copy) {
    setpgid(0, 0);  // whichever of the two comes first
    return InCopy{};
  }
  // No exit signal: a program that waits for any child does not see the helper.
  const int helper =
      clone(help, stack + kHelperStack,
            CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_FS | CLONE_SIGHAND, &attempt);
  const int saved = helper < 0 ? errno : 0;
  if (helper > 0)
    while (waitpid(helper, nullptr, static_cast<int>(__WCLONE)) < 0 && errno == EINTR) {
    }
  set_blocked_signals(mask);
  if (helper < 0) return sys_error("start the helper of a fork", saved);
  if (attempt.error != 0) return sys_error("fork", attempt.error);
  return InOriginal{};
}

}  // namespace brood
