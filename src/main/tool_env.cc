#include "main/tool_env.h"

#include <unistd.h>

#include <array>
#include <cstdio>
#include <vector>

#include "daemon/resolve.h"
#include "daemon/status_view.h"
#include "daemon/table.h"
#include "daemon/words.h"
#include "launch/daemon_client.h"
#include "launch/plan.h"
#include "main/tool_client.h"

namespace brood {
namespace {

using nlohmann::json;

const json kNoEnvironments = {{"environments", json::array()}};

// The plan of a program that is run here, as `brood run --env NAME -c pass` would make it.
Result<Plan> plan_here(const std::string& env_name) {
  static char command[] = "-c";
  static char code[] = "pass";
  const std::array<char*, 2> arguments{command, code};
  RunOptions options;
  options.env_name = env_name;
  return make_plan(arguments, options, false);
}

// The configuration files that apply here: the project's, then the user's.
Result<std::vector<ConfigFile>> configuration_here() {
  Result<Plan> plan = plan_here("");
  if (!plan) return plan.error();
  const Surroundings here = surroundings_here();
  std::vector<std::string> paths;
  if (!plan->launch.config_file.empty()) paths.push_back(plan->launch.config_file);
  const std::string user = here.user_config();
  if (!user.empty() && access(user.c_str(), F_OK) == 0 && (paths.empty() || paths.front() != user))
    paths.push_back(user);
  std::vector<ConfigFile> files;
  for (const std::string& path : paths) {
    Result<ConfigFile> file = read_config(path, here.home);
    if (!file) return file.error();
    files.push_back(std::move(*file));
  }
  return files;
}

// A program that is run here without --env gets the default environment, under the key of an empty
// name.
Result<std::string> as_programs_ask(const std::string& name) {
  if (name.empty()) return name;
  Result<std::vector<ConfigFile>> files = configuration_here();
  if (!files) return files.error();
  if (files->empty()) return name;
  const EnvironmentConfig* chosen = default_environment(files->front());
  return chosen && chosen->name == name ? std::string() : name;
}

Cell state_cell(const std::string& state) {
  const Tone tone = state == "ready" ? Tone::kGood : state == "failed" ? Tone::kBad : Tone::kBusy;
  return {harmless(state), tone};
}

// What the daemon keeps of that name: one row for each, or one without a state.
void list_environment(Table& table, const EnvironmentConfig& env, const ConfigFile& file,
                      const json& live, bool is_default) {
  std::string contents = join(env.preload);
  if (!env.init_file.empty()) contents += (contents.empty() ? "" : ", ") + env.init_file;
  const std::string name = harmless(env.name) + (is_default ? " *" : "");
  bool found = false;
  for (const json& one : live) {
    if (text_at(one, "name") != env.name || text_at(one, "config_file") != file.path) continue;
    found = true;
    table.add({{name},
               state_cell(text_at(one, "state")),
               {text_at(one, "key").substr(0, 8)},
               {harmless(contents)},
               {harmless(file.path)}});
  }
  if (!found)
    table.add({{name}, {"-", Tone::kDim}, {""}, {harmless(contents)}, {harmless(file.path)}});
}

void show_pair(const char* name, const std::string& value) {
  if (!value.empty()) std::printf("  %-20s %s\n", name, value.c_str());
}

std::string show_count(const json& map, const char* key) {
  const auto count = static_cast<int64_t>(number_at(map, key));
  return count ? std::to_string(count) : "";
}

void show_configured(const EnvironmentConfig& env, const ConfigFile& file) {
  std::printf("environment %s, configured in %s\n", harmless(env.name).c_str(),
              harmless(file.path).c_str());
  show_pair("python", harmless(env.python));
  show_pair("preload", harmless(join(env.preload)));
  show_pair("init file", harmless(env.init_file));
  show_pair("variables", harmless(join(env.variables)));
  show_pair("ignored variables", harmless(join(env.ignore_variables)));
  show_pair("watched", harmless(join(env.watch)));
  show_pair("spares", std::to_string(env.spares));
  show_pair("retired unused", show_duration(env.lifetime.idle_exit_ns));
  show_pair("renewed", show_duration(env.lifetime.max_age_ns));
}

void show_zygote(const json& zygote) {
  std::printf("  zygote, pid %d, %s\n", static_cast<int>(number_at(zygote, "pid")),
              harmless(text_at(zygote, "state")).c_str());
  show_pair("  python", harmless(text_at(zygote, "python_version")));
  show_pair("  loaded in ms", show_count(zygote, "preload_ms"));
  show_pair("  modules", show_count(zygote, "modules"));
  show_pair("  fork in us", show_count(zygote, "fork_us"));
  show_pair("  with the image", show_count(zygote, "image_fork_us"));
  if (const double bytes = number_at(zygote, "image_bytes"); bytes > 0)
    show_pair("  image", show_mebibytes(static_cast<uint64_t>(bytes)));
  show_pair("  watched folders", show_count(zygote, "watched_directories"));
  show_pair("  polled files", show_count(zygote, "polled_files"));
  show_pair("  variables it read", show_list(list_at(zygote, "read_variables")));
  show_pair("  spares", show_count(zygote, "spares"));
  show_pair("  running", show_count(zygote, "running"));
  if (const std::string output = text_at(zygote, "preload_output"); !output.empty())
    std::printf("    it wrote while it was loaded:\n%s\n", output.c_str());
}

void show_live(const json& env) {
  std::printf("%s, key %s, %s\n", harmless(text_at(env, "label")).c_str(),
              harmless(text_at(env, "key")).c_str(), harmless(text_at(env, "state")).c_str());
  show_pair("python", harmless(text_at(env, "python")));
  show_pair("options", show_list(list_at(env, "options")));
  show_pair("configuration", harmless(text_at(env, "config_file")));
  show_pair("init file", harmless(text_at(env, "init_file")));
  show_pair("runs", show_count(env, "served"));
  if (const std::string failure = text_at(env, "failure"); !failure.empty())
    std::printf("  it cannot be kept warm:\n%s\n", failure.c_str());
  for (const json& zygote : list_at(env, "zygotes"))
    show_zygote(zygote);
}

}  // namespace

int run_env_list() {
  Result<std::vector<ConfigFile>> files = configuration_here();
  if (!files) return fail(files.error().message);
  Result<json> status = ask_daemon({{"command", "status"}}, kNoEnvironments);
  if (!status) return fail(status.error().message);
  Table table({"NAME", "STATE", "KEY", "CONTENTS", "CONFIGURATION"});
  const json& live = list_at(*status, "environments");
  for (const ConfigFile& file : *files) {
    const EnvironmentConfig* chosen = default_environment(file);
    for (const EnvironmentConfig& env : file.environments)
      list_environment(table, env, file, live, &env == chosen && &file == &files->front());
  }
  for (const json& one : live) {
    if (!text_at(one, "name").empty()) continue;
    table.add({{harmless(text_at(one, "label"))},
               state_cell(text_at(one, "state")),
               {text_at(one, "key").substr(0, 8)},
               {harmless(text_at(one, "python"))},
               {""}});
  }
  const bool color = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
  std::fputs(table.render(color, 0).c_str(), stdout);
  return kSuccess;
}

int run_env_show(const std::string& which) {
  Result<std::vector<ConfigFile>> files = configuration_here();
  if (!files) return fail(files.error().message);
  bool found = false;
  std::vector<std::string> known;
  for (const ConfigFile& file : *files) {
    for (const std::string& name : file.names())
      known.push_back(name);
    const EnvironmentConfig* env = file.find(which);
    if (!env) continue;
    found = true;
    show_configured(*env, file);
  }
  Result<json> live = ask_daemon({{"command", "show"}, {"which", which}}, kNoEnvironments);
  if (!live) return fail(live.error().message);
  for (const json& env : list_at(*live, "environments")) {
    found = true;
    show_live(env);
  }
  if (found) return kSuccess;
  return fail("no environment " + which + " is configured here, and none is warm" +
              did_you_mean(which, known) + "; see `brood env list`");
}

int run_env_warm(const std::string& name) {
  Result<std::string> asked = as_programs_ask(name);
  if (!asked) return fail(asked.error().message);
  Result<Plan> plan = plan_here(*asked);
  if (!plan) return fail(plan.error().message);
  if (!plan->cold_reason.empty()) return fail("it cannot be kept warm: " + plan->cold_reason);
  const RuntimeDir dir = runtime_dir();
  if (Result<ZygotePlan> zygote = plan_zygote(plan->launch, dir); !zygote)
    return fail(zygote.error().message);
  if (Result<void> warmed = wait_for_zygote(dir, plan->launch); !warmed)
    return fail("it cannot be kept warm: " + warmed.error().message);
  Result<json> env = ask_daemon({{"command", "explain"}, {"key", plan->key}}, json::object());
  if (!env) return fail(env.error().message);
  std::printf("%s is warm, key %s\n", harmless(text_at(*env, "label")).c_str(), plan->key.c_str());
  return kSuccess;
}

int run_env_retire(const std::string& which) {
  Result<json> answer = ask_daemon({{"command", "retire"}, {"which", which}}, {{"retired", 0}});
  if (!answer) return fail(answer.error().message);
  const auto count = static_cast<int>(number_at(*answer, "retired"));
  if (count == 0) return fail("no environment " + which + " is warm; see `brood status`");
  std::printf("retired %d\n", count);
  return kSuccess;
}

}  // namespace brood
