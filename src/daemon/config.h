// Configuration files: brood.toml in a project, config.toml of the user. docs/environments.md
// describes them. An error reads "FILE:LINE:COLUMN: what was found, what was expected".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "wire/control.h"

namespace brood {

inline constexpr int64_t kMinuteNs = 60ll * 1'000'000'000;

// How long zygotes live, in nanoseconds; 0: without end.
struct Lifetime {
  int64_t max_age_ns = 24 * 60 * kMinuteNs;
  int64_t idle_exit_ns = 30 * kMinuteNs;
};

// [env.NAME]
struct EnvironmentConfig {
  std::string name;
  std::string python;        // absolute path, or a name to look up in PATH; empty: the caller's
  std::string python_place;  // FILE:LINE:COLUMN where that is said
  std::vector<std::string> preload;    // valid module names
  std::string init_file;               // absolute; empty: none
  std::vector<std::string> variables;  // NAME=value
  std::vector<std::string> ignore_variables;
  std::vector<std::string> watch;  // absolute
  uint32_t spares = 4;
  Lifetime lifetime;
  ImageMode image = ImageMode::kAuto;
  bool allow_threads = false;
  bool allow_sockets = false;
};

// [daemon], in the user's file only
struct DaemonConfig {
  int64_t idle_exit_ns = 60 * kMinuteNs;
  uint32_t max_environments = 16;
  std::string log_level = "info";
};

enum class ConfigKind { kProject, kUser };

struct ConfigFile {
  std::string path;
  ConfigKind kind = ConfigKind::kProject;
  std::string default_env;  // empty: not said
  std::vector<EnvironmentConfig> environments;
  DaemonConfig daemon;
  bool uses_home = false;  // a path began with ~

  std::string directory() const { return path.substr(0, path.rfind('/')); }
  const EnvironmentConfig* find(std::string_view name) const;
  std::vector<std::string> names() const;
};

// `home` replaces a leading ~; empty: such a path is an error.
Result<ConfigFile> parse_config(std::string_view text, const std::string& path, ConfigKind kind,
                                const std::string& home);
Result<ConfigFile> read_config(const std::string& path, const std::string& home);

// A project's file is called brood.toml; any other is a user's.
ConfigKind kind_of(const std::string& path);

// The environment that applies when none is asked for: `default`, else the only one, else one
// called "default".
const EnvironmentConfig* default_environment(const ConfigFile& file);

}  // namespace brood
