#include "daemon/resolve.h"

#include <unistd.h>

#include <cstdlib>

#include "base/sys.h"
#include "daemon/plain_preload.h"
#include "daemon/words.h"

namespace brood {
namespace {

std::string value_of(const std::vector<std::string>& variables, const std::string& name) {
  for (const std::string& item : variables)
    if (item.size() > name.size() && item[name.size()] == '=' && item.starts_with(name))
      return item.substr(name.size() + 1);
  return "";
}

std::string variable(const char* name) {
  const char* value = getenv(name);
  return value ? value : "";
}

std::string absolute_or_empty(const std::string& path) {
  return path.starts_with('/') ? path : std::string();
}

std::string find_in_path(const std::string& name, const std::string& path) {
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find(':', begin), path.size());
    const std::string candidate = path.substr(begin, end - begin) + "/" + name;
    if (candidate.front() == '/' && access(candidate.c_str(), X_OK) == 0) return candidate;
    begin = end + 1;
  }
  return "";
}

Error unknown_environment(const std::string& name, const ConfigFile& file,
                          const std::vector<std::string>& known) {
  if (known.empty())
    return Error{"no environment " + name + ": " + file.path + " has no environments"};
  std::string hint = did_you_mean(name, known);
  return Error{"no environment " + name + " in " + file.path +
               (hint.empty() ? ", which has " + join(known) : hint)};
}

// --env NAME: the file itself, then (for a project's file) the user's.
Result<void> choose_named(const ConfigFile& file, const std::string& name,
                          const Surroundings& caller, Choice& choice) {
  if (const EnvironmentConfig* env = file.find(name)) {
    choice.env = *env;
    return {};
  }
  std::vector<std::string> known = file.names();
  choice.depends_on_caller = true;
  const std::string user = caller.user_config();
  if (file.kind == ConfigKind::kProject && !user.empty() && access(user.c_str(), F_OK) == 0) {
    Result<ConfigFile> other = read_config(user, caller.home);
    if (!other) return other.error();
    choice.consulted.push_back(user);
    if (const EnvironmentConfig* env = other->find(name)) {
      choice.env = *env;
      choice.import_directory.clear();
      return {};
    }
    for (const std::string& more : other->names())
      known.push_back(more);
  }
  return unknown_environment(name, file, known);
}

void find_python(EnvironmentConfig& env, const Surroundings& caller, Choice& choice) {
  if (env.python.empty()) return;
  const std::string wanted =
      env.python_place + ": the environment " + env.name + " wants the interpreter " + env.python;
  if (env.python.front() == '/') {
    if (access(env.python.c_str(), X_OK) != 0)
      choice.python_missing = wanted + ", which is no executable file; install it, or correct it";
    return;
  }
  choice.depends_on_caller = true;
  const std::string found = find_in_path(env.python, caller.path);
  if (found.empty())
    choice.python_missing = wanted + ", which is not in PATH; install it, or say its path";
  env.python = found;
}

}  // namespace

std::string Surroundings::user_config() const {
  if (!config_home.empty()) return config_home + "/brood/config.toml";
  if (!home.empty()) return home + "/.config/brood/config.toml";
  return "";
}

Surroundings surroundings(const std::vector<std::string>& variables) {
  return {absolute_or_empty(value_of(variables, "HOME")), value_of(variables, "PATH"),
          absolute_or_empty(value_of(variables, "XDG_CONFIG_HOME"))};
}

Surroundings surroundings_here() {
  return {absolute_or_empty(variable("HOME")), variable("PATH"),
          absolute_or_empty(variable("XDG_CONFIG_HOME"))};
}

Result<Choice> choose_environment(const std::string& config_file, const std::string& env_name,
                                  const Surroundings& caller) {
  Result<ConfigFile> file = read_config(config_file, caller.home);
  if (!file) return file.error();
  Choice choice;
  choice.consulted.push_back(config_file);
  choice.depends_on_caller = file->uses_home;
  if (file->kind == ConfigKind::kProject) choice.import_directory = file->directory();
  if (!env_name.empty()) {
    if (Result<void> found = choose_named(*file, env_name, caller, choice); !found)
      return found.error();
  } else if (const EnvironmentConfig* env = default_environment(*file)) {
    choice.env = *env;
  } else {
    choice.import_directory.clear();
    return choice;
  }
  choice.plain = false;
  find_python(choice.env, caller, choice);
  return choice;
}

Result<ZygotePlan> plan_zygote(const Launch& launch, const RuntimeDir& dir) {
  Choice choice;
  if (!launch.config_file.empty()) {
    const Surroundings caller = surroundings(launch.variables);
    Result<Choice> chosen = choose_environment(launch.config_file, launch.env_name, caller);
    if (!chosen) return chosen.error();
    choice = std::move(*chosen);
    if (!launch.python_chosen && !choice.python_missing.empty())
      return Error{choice.python_missing};
    if (identify(launch.config_file.c_str()) != launch.config_identity)
      return Error{launch.config_file + " has changed meanwhile; run again"};
  }
  const EnvironmentConfig& env = choice.env;
  ZygotePlan plan;
  plan.env_name = env.name;
  plan.lifetime = env.lifetime;
  plan.python = launch.python_chosen || env.python.empty() ? launch.python : env.python;
  ZygoteSpec& spec = plan.spec;
  spec.key = environment_key(launch);
  spec.socket_path = dir.environment_socket(spec.key);
  for (const char* module : kPlainPreload)
    spec.preload.emplace_back(module);
  plan.plain_modules = spec.preload.size();
  spec.preload.insert(spec.preload.end(), env.preload.begin(), env.preload.end());
  spec.preload.insert(spec.preload.end(), launch.preload.begin(), launch.preload.end());
  spec.init_file = launch.init_file.empty() ? env.init_file : launch.init_file;
  spec.import_directory = choice.import_directory;
  spec.overrides = env.variables;
  spec.ignored_variables = env.ignore_variables;
  for (const std::string& item : env.variables)  // every program has this value
    spec.ignored_variables.push_back(item.substr(0, item.find('=')));
  spec.watched_files = choice.consulted;
  spec.watched_files.insert(spec.watched_files.end(), env.watch.begin(), env.watch.end());
  spec.spares = env.spares;
  spec.image = env.image;
  spec.allow_threads = env.allow_threads;
  spec.allow_sockets = env.allow_sockets;
  return plan;
}

ColdResolution resolve_for_cold(const Launch& launch, const Surroundings& caller) {
  ColdResolution out;
  Result<Choice> choice = choose_environment(launch.config_file, launch.env_name, caller);
  if (!choice)
    out.resolved.error = choice.error().message;
  else if (!launch.python_chosen)
    out.resolved.error = choice->python_missing;
  if (!out.resolved.error.empty()) {
    out.cacheable = false;
    return out;
  }
  out.cacheable = !choice->depends_on_caller && choice->python_missing.empty();
  if (choice->plain) return out;
  out.resolved.python = choice->env.python;
  out.resolved.env_name = choice->env.name;
  out.resolved.init_file = choice->env.init_file;
  out.resolved.import_directory = choice->import_directory;
  out.resolved.overrides = choice->env.variables;
  return out;
}

}  // namespace brood
