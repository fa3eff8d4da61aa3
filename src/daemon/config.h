// Configuration files: brood.toml in a project, config.toml of the user. docs/environments.md
// describes them. An error reads "FILE:LINE:COLUMN: what was found, what was expected".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "daemon/limits.h"
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
  std::string preparser;  // of sessions: "module:function", source to source; empty: none
  std::optional<SessionLimits> limits;  // of sessions; none: those of [serve.limits]
};

// [daemon], in the user's file only
struct DaemonConfig {
  bool for_sessions = false;  // not in a file: this is `brood serve`
  bool for_gateways = true;   // the same: gateways may be forked from its environments
  int64_t idle_exit_ns = 60 * kMinuteNs;
  uint32_t max_environments = 16;
  std::string log_level = "info";
};

// [serve]: what `brood serve` does; docs/sessions.md
struct ServeConfig {
  std::vector<std::string> listen;  // "http:127.0.0.1:8787", ...; empty: the default
  std::vector<std::string> hosts;   // names under which browsers may reach it
  std::string cgroup = "auto";      // "auto", "off", or an absolute folder; docs/sessions.md
  std::string user;                 // started as root, it becomes this one; empty: it stays
  std::string work_folder;          // absolute; empty: the default
  std::string certificate, key;     // absolute; PEM
  uint32_t max_sessions = 1000;
  uint32_t max_sessions_per_user = 100;
  uint32_t max_gateways = 100;  // of each execnet: and gateway: address
  uint32_t sessions_ahead = 1;
  uint32_t checkpoints = 8;  // kept for each session
  int64_t idle_timeout_ns = 24 * 60 * kMinuteNs;
  int64_t no_clients_timeout_ns = 12 * 60 * kMinuteNs;
  int64_t interrupt_grace_ns = kMinuteNs / 20;
  uint64_t file_limit = 256u << 20;  // bytes of an uploaded file
  SessionLimits limits;
};

enum class ConfigKind { kProject, kUser };

struct ConfigFile {
  std::string path;
  ConfigKind kind = ConfigKind::kProject;
  std::string default_env;  // empty: not said
  std::vector<EnvironmentConfig> environments;
  DaemonConfig daemon;
  ServeConfig serve;
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
