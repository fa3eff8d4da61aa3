// `brood serve`: the server of sessions. Wires up environments, sessions and doors, and runs them.
#pragma once

namespace brood {

// `argv[0]` is the command itself. Returns the exit status, when it was asked to leave.
int run_serve(int argc, char** argv);

}  // namespace brood
