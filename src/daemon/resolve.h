// From what a client asks for (a Launch) to what a zygote needs. Reads configuration files; starts
// nothing.
#pragma once

#include <string>
#include <vector>

#include "base/runtime_dir.h"
#include "daemon/config.h"
#include "wire/control.h"
#include "wire/launch.h"
#include "wire/resolved.h"

namespace brood {

// The caller's variables that a configuration file's meaning depends on.
struct Surroundings {
  std::string home;
  std::string path;
  std::string config_home;  // XDG_CONFIG_HOME, if absolute

  std::string user_config() const;  // empty: there is no place for it
};
Surroundings surroundings(const std::vector<std::string>& variables);  // NAME=value
Surroundings surroundings_here();                                      // of this process

// The environment that a configuration file gives for a name.
struct Choice {
  bool plain = true;      // none applies
  EnvironmentConfig env;  // its python is absolute or empty
  std::string import_directory;
  // The interpreter that it names does not exist: text for people. A mistake unless the caller has
  // chosen another one.
  std::string python_missing;
  std::vector<std::string> consulted;  // every file that was read
  bool depends_on_caller =
      false;  // on more than the configuration file itself: PATH, HOME, the user's file
};
Result<Choice> choose_environment(const std::string& config_file, const std::string& env_name,
                                  const Surroundings& caller);

struct ZygotePlan {
  ZygoteSpec spec;
  std::string python;    // absolute
  std::string env_name;  // for people; empty: plain
  Lifetime lifetime;
  size_t plain_modules = 0;  // so many of spec.preload are those of every environment
};
Result<ZygotePlan> plan_zygote(const Launch& launch, const RuntimeDir& dir);

// For a cold run. A mistake in the configuration is told in Resolved::error.
struct ColdResolution {
  Resolved resolved;
  bool cacheable = true;  // holds for every caller while the configuration file is the same
};
ColdResolution resolve_for_cold(const Launch& launch, const Surroundings& caller);

}  // namespace brood
