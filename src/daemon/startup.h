// How the daemon begins: alone in its directory, with a listening socket, perhaps in the
// background. Used by main/broodd_main.cc, before there is an event loop.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "base/runtime_dir.h"

namespace brood {

// systemd's socket (LISTEN_FDS), if it passed one to this very process.
Fd inherited_listener();

// The lock of the directory; it is held until the descriptor is closed. Nothing: another daemon
// serves. With a socket of our own (`inherited`) that must not be: then it is an error.
Result<std::optional<Fd>> lock_directory(const RuntimeDir& dir, bool inherited);

// Writes our pid into the lock file, for people. Needs the lock; after go_to_background().
void sign_lock(int lock);

// A new socket that replaces what a dead daemon left. Needs the lock.
Result<Fd> open_listener(const RuntimeDir& dir);

// Removes what earlier daemons left in env/, failed/ and (old ones) in resolved/. Needs the lock.
void remove_left_overs(const RuntimeDir& dir);

// Goes on in a new session without a terminal; the caller's process ends with status 0 when all is
// ready to serve. Standard output and error go to the log file; all descriptors but `keep` are
// closed.
Result<void> go_to_background(const RuntimeDir& dir, std::span<const int> keep);

// Default dispositions and an empty mask, but SIGPIPE is ignored.
void reset_signals();

}  // namespace brood
