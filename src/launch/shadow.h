// The client while its program runs in a worker: forwards signals, stops and continues with it,
// ends as it ended. Called with all signals blocked; never returns.
#pragma once

#include <sys/types.h>

#include "base/fd.h"
#include "wire/frame.h"

namespace brood {

// The exit status when the worker and its zygote both vanished and nobody can say how the program
// ended.
inline constexpr int kStatusUnknown = 125;

[[noreturn]] void shadow(Fd connection, pid_t zygote, pid_t worker, FrameParser parser);

}  // namespace brood
