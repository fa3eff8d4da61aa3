// The runtime directory: where the daemon's and the environments' sockets live. One per user.
//
//   $XDG_RUNTIME_DIR/brood, else /tmp/brood-<uid>
//     daemon.sock        the daemon
//     daemon.lock        held by the one daemon
//     daemon.log         its log (and the zygotes' output)
//     env/<key>          one socket for each warm environment; spares accept on it
//     failed/<key>       why an environment cannot be kept warm: text for people
//     resolved/<hash>    what a configuration file says about cold runs (launch/resolved.h)
//
// The directory must belong to the caller with mode 0700, and be no symbolic link: otherwise
// everything goes cold.
#pragma once

#include <string>

#include "base/result.h"

namespace brood {

struct RuntimeDir {
  std::string path;

  std::string daemon_socket() const { return path + "/daemon.sock"; }
  std::string log_file() const { return path + "/daemon.log"; }
  std::string environment_socket(const std::string& key) const { return path + "/env/" + key; }
  std::string failure_file(const std::string& key) const { return path + "/failed/" + key; }
  std::string resolved_file(const std::string& hash) const { return path + "/resolved/" + hash; }
};

// Where it would be; touches nothing.
RuntimeDir runtime_dir();

// Fails unless it exists and is ours alone. One system call.
Result<void> check(const RuntimeDir& dir);

// Makes it and its folders if need be, then checks it.
Result<void> create(const RuntimeDir& dir);

}  // namespace brood
