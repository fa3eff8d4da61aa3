// brood stop, brood logs.
#pragma once

namespace brood {

// Returns when the daemon has gone.
int run_stop();
// The last `lines` lines of the log; with `follow`, what is added, until it is interrupted.
int run_logs(bool follow, unsigned lines);

}  // namespace brood
