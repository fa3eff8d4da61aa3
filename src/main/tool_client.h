// brood-tool's conversations with the daemon. None of them starts it but wait_for_zygote
// (launch/daemon_client.h).
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "base/runtime_dir.h"

namespace brood {

inline constexpr int kSuccess = 0;
inline constexpr int kFailure = 1;
inline constexpr int kUsage = 2;

// Prints "brood: <message>" to stderr and returns `status`.
int fail(const std::string& message, int status = kFailure);

class DaemonClient {
 public:
  // Nothing when no daemon runs. Fails when the directory is not ours alone.
  static Result<std::optional<DaemonClient>> connect(const RuntimeDir& dir);

  // One command, one answer. An answer {"error": text} is an Error.
  Result<nlohmann::json> ask(const nlohmann::json& command);

 private:
  explicit DaemonClient(Fd socket) : socket_(std::move(socket)) {}
  Fd socket_;
};

// The same for a single command; an absent daemon gives `otherwise`.
Result<nlohmann::json> ask_daemon(const nlohmann::json& command, const nlohmann::json& otherwise);

}  // namespace brood
