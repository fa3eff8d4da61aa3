// What people ask the daemon (kCommand -> kReply): MessagePack maps. Pure but for the environments
// it reports on.
//
//   {"command": "status"}                   everything, see docs/environments.md
//   {"command": "show", "which": W}         the environments of that name, or whose key begins with
//   it
//   {"command": "explain", "key": K}        the state of one key
//   {"command": "retire", "which": W}       {"retired": count}
//   {"command": "stop"}                     {"pid": the daemon's}; it leaves after the answer
//
// An answer is {"error": text} when something was wrong. Environments are warmed with kWarm and
// kWarmWait.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "daemon/environments.h"

namespace brood {

// Small on purpose: a nested map costs stack while it is read.
inline constexpr size_t kMaxCommand = 4096;  // bytes

struct DaemonFacts {
  std::string runtime_dir;
  int64_t started_ns = 0;
  uint32_t max_environments = 0;
};

struct CommandAnswer {
  nlohmann::json reply;
  bool stop = false;
};

CommandAnswer answer_command(std::string_view request, const DaemonFacts& facts,
                             Environments& environments);

}  // namespace brood
