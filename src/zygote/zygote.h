// The zygote: loads one environment, then only forks. Its own process, one thread.
#pragma once

namespace brood {

// Called by the bootstrap with the control socket to the daemon; GIL held. Returns only in no
// process: the zygote and its workers leave by _exit().
[[noreturn]] void serve(int control);

}  // namespace brood
