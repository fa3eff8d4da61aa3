// The command line of `brood serve`, and what it means together with the configuration.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "daemon/config.h"
#include "main/serve_addresses.h"

namespace brood {

struct ServeCommand {
  std::string config;               // --config FILE
  std::vector<std::string> listen;  // --listen ADDRESS, may repeat
  std::vector<std::string> hosts;   // --host NAME, may repeat
  std::string user;                 // --user NAME
  std::string certificate, key;     // --certificate FILE --key FILE
  std::string door_folder;          // --config-dir DIR: users and tokens
  std::string log_level;
  int ready_fd = -1;         // --ready-fd N
  bool self_signed = false;  // --self-signed
  bool insecure = false;     // --insecure
  bool demo = false;         // --demo
};

// Whether it is to offer the environments of the demo, not those of another file.
bool is_demo(const ServeCommand& command);

struct ServePlan {
  std::optional<ConfigFile> file;  // whose environments are offered
  ServeConfig config;              // the file's, with what the command line says
  std::vector<Address> addresses;
  std::string door_folder;
  std::string python;  // the interpreter of environments that name none; empty: as find_interpreter
};

// Nothing: it has been answered (--help), or was wrong; `status` is the exit status.
std::optional<ServeCommand> parse_serve(int argc, char** argv, int& status);

// Reads the configuration, checks what can be checked before anything is opened.
Result<ServePlan> plan_serve(const ServeCommand& command);

}  // namespace brood
