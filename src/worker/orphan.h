// A fork whose child is not this process' child. Worker process, GIL held, between
// PyOS_BeforeFork() and PyOS_AfterFork_...().
//
// The program must not see the copies that a session keeps of it (os.wait(), waitpid(-1)), and they
// must outlive it. So the fork is made by a helper that shares this process' memory and runs on a
// stack of its own (clone with CLONE_VM and CLONE_VFORK); it ends at once, and the copy belongs to
// the nearest subreaper, which is the server. The copy goes on where this process called, on its
// stack: the helper saved that context (getcontext(3)) before. It is glibc's fork() that the helper
// calls, so that the handlers of pthread_atfork() and glibc's own locks are looked after.
#pragma once

#include <sys/types.h>

#include <variant>

#include "base/result.h"

namespace brood {

struct InOriginal {};
struct InCopy {
};  // leads a process group, also before the original goes on; all signals are blocked

// Returns twice. An Error is in the original. All signals are blocked meanwhile, and in the copy
// until it sets its own mask; the original gets its mask back.
std::variant<InOriginal, InCopy, Error> fork_orphan();

}  // namespace brood
