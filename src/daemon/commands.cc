#include "daemon/commands.h"

#include <unistd.h>

#include <cmath>

#include "base/clock.h"

namespace brood {
namespace {

using nlohmann::json;

constexpr size_t kMaxListedPrograms = 200;  // of one zygote, so that an answer fits a frame

double seconds(int64_t nanoseconds) {
  return std::round(static_cast<double>(nanoseconds) / 1e6) / 1e3;
}

std::string text_of(const json& map, const char* key) {
  const auto found = map.find(key);
  return found != map.end() && found->is_string() ? found->get<std::string>() : std::string();
}

json describe(const ZygoteHost& zygote, int64_t now) {
  const ZygoteReady& report = zygote.report();
  json programs = json::array();
  for (const auto& [pid, program] : zygote.programs()) {
    if (programs.size() == kMaxListedPrograms) break;
    programs.push_back(
        {{"pid", pid}, {"program", program.program}, {"age_s", seconds(now - program.since_ns)}});
  }
  return {{"pid", zygote.pid()},
          {"state", name_of(zygote.state())},
          {"age_s", seconds(now - zygote.started_ns())},
          {"python_version", report.python_version},
          {"preload_ms", static_cast<double>(report.preload_us) / 1e3},
          {"fork_us", report.fork_us},
          {"image_fork_us", report.image_fork_us},
          {"image_bytes", report.image_bytes},
          {"modules", report.modules},
          {"watched_directories", report.watched_directories},
          {"polled_files", report.polled_files},
          {"read_variables", report.read_variables},
          {"preload_output", report.output},
          {"spares", zygote.state() == ZygoteState::kReady ? zygote.spares() : 0},
          {"served", zygote.served()},
          {"running", zygote.programs().size()},
          {"programs", std::move(programs)}};
}

json zygotes_of(const Environments& environments, const std::string& key, const Environment* env,
                int64_t now) {
  json out = json::array();
  if (env && env->current) out.push_back(describe(*env->current, now));
  if (env && env->upcoming) out.push_back(describe(*env->upcoming, now));
  for (const auto& zygote : environments.retiring())
    if (zygote->key() == key) out.push_back(describe(*zygote, now));
  return out;
}

const char* state_of(const Environment& env) {
  if (env.current) return "ready";
  if (env.upcoming || env.start_ns != 0) return "starting";
  return "failed";
}

json describe(const Environments& environments, const std::string& key, const Environment& env,
              int64_t now) {
  const ZygoteHost* zygote = env.current ? env.current.get() : env.upcoming.get();
  json out = {{"key", key},
              {"label", env.label()},
              {"name", env.name},
              {"state", state_of(env)},
              {"python", env.python},
              {"options", env.launch.options},
              {"config_file", env.launch.config_file},
              {"last_used_s", seconds(now - env.used_ns)},
              {"served", env.served + (env.current ? env.current->served() : 0)},
              {"idle_exit_s", seconds(env.lifetime.idle_exit_ns)},
              {"max_age_s", seconds(env.lifetime.max_age_ns)},
              {"failure", env.failure},
              {"zygotes", zygotes_of(environments, key, &env, now)}};
  if (!env.alive() && env.retry_ns > now) out["retry_s"] = seconds(env.retry_ns - now);
  if (zygote) {
    out["preload"] = zygote->spec().preload;
    out["init_file"] = zygote->spec().init_file;
    out["wanted_spares"] = zygote->spec().spares;
  }
  return out;
}

// Zygotes whose environment is forgotten, but which still run programs.
void add_left_over(const Environments& environments, int64_t now, json& list) {
  for (const auto& zygote : environments.retiring()) {
    if (environments.all().contains(zygote->key())) continue;
    bool listed = false;
    for (const json& one : list)
      listed = listed || one["key"] == zygote->key();
    if (listed) continue;
    list.push_back({{"key", zygote->key()},
                    {"label", "(retired)"},
                    {"name", ""},
                    {"state", "retiring"},
                    {"python", zygote->python()},
                    {"failure", ""},
                    {"served", zygote->served()},
                    {"zygotes", zygotes_of(environments, zygote->key(), nullptr, now)}});
  }
}

json status(const DaemonFacts& facts, const Environments& environments) {
  const int64_t now = monotonic_ns();
  json list = json::array();
  for (const auto& [key, env] : environments.all())
    list.push_back(describe(environments, key, env, now));
  add_left_over(environments, now, list);
  return {{"daemon",
           {{"pid", getpid()},
            {"version", BROOD_VERSION},
            {"uptime_s", seconds(now - facts.started_ns)},
            {"runtime_dir", facts.runtime_dir},
            {"max_environments", facts.max_environments},
            {"served", environments.served()}}},
          {"environments", std::move(list)}};
}

json show(const Environments& environments, const std::string& which) {
  const int64_t now = monotonic_ns();
  json list = json::array();
  for (const auto& [key, env] : environments.all())
    if (!which.empty() && (env.label() == which || key.starts_with(which)))
      list.push_back(describe(environments, key, env, now));
  return {{"environments", std::move(list)}};
}

json explain(const Environments& environments, const std::string& key) {
  const auto found = environments.all().find(key);
  if (found == environments.all().end()) return {{"state", "none"}};
  return describe(environments, key, found->second, monotonic_ns());
}

}  // namespace

CommandAnswer answer_command(std::string_view request, const DaemonFacts& facts,
                             Environments& environments) {
  if (request.size() > kMaxCommand) return {{{"error", "the command is too long"}}};
  const json map = json::from_msgpack(request, true, false);
  if (!map.is_object()) return {{{"error", "a command is a MessagePack map"}}};
  const std::string command = text_of(map, "command");
  if (command == "status") return {status(facts, environments)};
  if (command == "show") return {show(environments, text_of(map, "which"))};
  if (command == "explain") return {explain(environments, text_of(map, "key"))};
  if (command == "retire")
    return {{{"retired", environments.retire_matching(text_of(map, "which"))}}};
  if (command == "stop") return {{{"pid", getpid()}}, true};
  return {{{"error", "the daemon knows no command \"" + command +
                         "\"; is it of another version? `brood stop` lets it start anew"}}};
}

}  // namespace brood
