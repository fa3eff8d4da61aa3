// How the daemon begins: alone in its directory, with a listening socket, perhaps in the
// background. Used by main/broodd_main.cc, before there is an event loop.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "base/runtime_dir.h"
#include "base/sys.h"

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

// The files a daemon was made of: its program and the extension module that its zygotes load. Once
// they have gone or others have taken their place (an upgrade, a new build, a folder that moved),
// the daemon is to leave: it cannot start a zygote any more, or would start one of another version.
class Installation {
 public:
  Installation(std::string program, std::string module);
  bool unchanged() const;  // two system calls

 private:
  std::string paths_[2];
  FileIdentity identities_[2];
};

// Default dispositions and an empty mask, but SIGPIPE is ignored.
void reset_signals();

}  // namespace brood
