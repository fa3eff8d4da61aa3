// What a configuration file means for a cold run: written by brood-tool, read by the thin client,
// which has no TOML parser. One file for each (configuration file state, environment name). Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "wire/launch.h"

namespace brood {

struct Resolved {
  std::string error;     // the file is wrong: file:line:column: what, what to do; the rest is empty
  std::string python;    // absolute; empty: as without configuration
  std::string env_name;  // the environment that was chosen; empty: none applies, run plainly
  std::string init_file;               // absolute; empty: none
  std::string import_directory;        // on sys.path while the init file runs; empty: none
  std::vector<std::string> overrides;  // NAME=value for the program (the environment's `variables`)
};
std::string encode(const Resolved& resolved);
Result<Resolved> decode_resolved(std::string_view bytes);

// Names the cache file: hash of the configuration file's path, identity and the environment name
// asked for.
std::string resolved_name(const std::string& config_file, const FileIdentity& identity,
                          const std::string& env_name);

}  // namespace brood
