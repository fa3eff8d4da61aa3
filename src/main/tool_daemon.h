// brood stop, brood logs.
#pragma once

#include <span>

namespace brood {

// Returns when the daemon has gone.
// `brood serve`: the daemon's program does that. Returns only on failure. `words`: "serve", its
// arguments.
int execute_serve(std::span<char* const> words);

int run_stop();
// The last `lines` lines of the log; with `follow`, what is added, until it is interrupted.
int run_logs(bool follow, unsigned lines);

}  // namespace brood
