// What `brood serve` lets sessions do. Values; 0 means: without limit, unless said otherwise.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/result.h"
#include "daemon/limits.h"
#include "session/event_log.h"

namespace brood {

nlohmann::json to_json(const SessionLimits& limits);
// Reads what `asked` names over `base`. Only an admin (`may_raise`) may ask for more than `base`.
Result<SessionLimits> limits_from(const nlohmann::json& asked, const SessionLimits& base,
                                  bool may_raise);

struct ServeSettings {
  std::string work_folder;  // a folder for each session is made in it, and removed with it
  uint32_t max_sessions = 1000;
  uint32_t max_sessions_per_user = 100;
  uint32_t sessions_ahead = 1;        // of each environment in use, started before they are wanted
  uint32_t checkpoints = 8;           // kept for each session; at most kMaxCheckpoints
  uint64_t idle_timeout = 24 * 3600;  // seconds without a request
  uint64_t no_clients_timeout = 12 * 3600;  // seconds without a joined client
  uint64_t file_limit = 256u << 20;         // bytes of one uploaded file
  int64_t interrupt_grace_ns = 3'000'000'000;
  LogLimits log;
  SessionLimits limits;  // of environments that say nothing
};

inline constexpr uint32_t kMaxCheckpoints = 256;  // each is a process

}  // namespace brood
