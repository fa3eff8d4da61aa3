// brood explain: which way a command line would go, and why. Starts and runs nothing.
#include <unistd.h>
#include <algorithm>

#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "base/runtime_dir.h"
#include "daemon/resolve.h"
#include "daemon/status_view.h"
#include "daemon/table.h"
#include "daemon/words.h"
#include "launch/plan.h"
#include "launch/run_options.h"
#include "main/tool_client.h"
#include "main/tool_run.h"

namespace brood {
namespace {

using nlohmann::json;

struct Explanation {
  bool warm = false;
  std::string why;
  std::string advice;  // what would make it warm
};

const char* const kPlainWay = "nothing: such a program needs an interpreter of its own";

Explanation explain_failure(const json& env) {
  Explanation out;
  out.why = "the environment cannot be kept warm:\n" + text_at(env, "failure");
  while (out.why.ends_with('\n'))
    out.why.pop_back();
  const double wait = number_at(env, "retry_s");
  out.advice = "correct what failed and run again";
  if (wait > 0)
    out.advice += " (the next try is in " +
                  show_duration(static_cast<int64_t>(wait * 1e9) + 999'999'999) + ")";
  return out;
}

bool has(const std::vector<std::string>& variables, const std::string& name) {
  return std::any_of(variables.begin(), variables.end(), [&](const std::string& item) {
    return item.size() > name.size() && item[name.size()] == '=' && item.starts_with(name);
  });
}

// A variable that the preload found unset, and that is set here: its spares refuse this program.
std::string foreign_variable(const json& env, const ZygotePlan& plan, const Launch& launch) {
  const std::vector<std::string>& ignored = plan.spec.ignored_variables;
  for (const json& zygote : list_at(env, "zygotes"))
    for (const json& item : list_at(zygote, "read_variables")) {
      const std::string name = item.is_string() ? item.get<std::string>() : "";
      if (has(launch.variables, name) || has(plan.spec.overrides, name)) continue;
      if (std::find(ignored.begin(), ignored.end(), name) != ignored.end()) continue;
      if (getenv(name.c_str())) return name;
    }
  return "";
}

Explanation explain_live(const json& env, const ZygotePlan& zygote, const Launch& launch) {
  const std::string state = text_at(env, "state");
  if (state == "failed") return explain_failure(env);
  if (state == "starting")
    return {false, "the environment is being prepared", "wait a moment, or run with --wait"};
  if (state != "ready")
    return {false, "no zygote has this environment yet",
            "running it once (cold), `brood run --wait`, or `brood env warm`"};
  if (const std::string name = foreign_variable(env, zygote, launch); !name.empty())
    return {false, name + " was read while the environment was loaded, and has another value here",
            "unset " + name + ", or put it into ignore_variables or variables of the environment"};
  return {true, "a spare waits for it", ""};
}

Explanation explain_plan(const Plan& plan, const Result<ZygotePlan>& zygote, const json& env,
                         const Result<void>& dir) {
  const char* brood = getenv("BROOD");
  if (brood && std::string_view(brood) == "off") return {false, "BROOD=off", "unset BROOD"};
  if (!plan.cold_reason.empty())
    return {false, plan.cold_reason, plan.cold_reason == plan.distrusted ? plan.remedy : kPlainWay};
  if (!zygote)
    return {false, "the configuration is wrong: " + zygote.error().message,
            "correct the configuration"};
  if (!dir && dir.error().code != ENOENT)
    return {false, dir.error().message, "a runtime directory of your own with mode 0700"};
  if (env.is_null())
    return {false, "no daemon runs",
            "running it once (cold) starts the daemon, which prepares the environment"};
  Result<ZygotePlan> copy = zygote;
  return explain_live(env, *copy, plan.launch);
}

std::string harmless_lines(const std::string& text) {
  std::string out;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    out += (at > 0 ? "\n" : "") + harmless(text.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

void line(const char* name, const std::string& value) {
  if (!value.empty()) std::printf("  %-15s %s\n", name, harmless(value).c_str());
}

std::string environment_name(const Plan& plan, const ZygotePlan& zygote) {
  if (!zygote.env_name.empty()) return zygote.env_name;
  return plan.launch.plain() || plan.launch.preload.empty() ? "plain" : "of this command line";
}

void print_plan(const Plan& plan, Result<ZygotePlan>& zygote, const json& env) {
  const Launch& launch = plan.launch;
  if (zygote) line("environment", environment_name(plan, *zygote));
  line("key", plan.key);
  line("interpreter", zygote ? zygote->python : launch.python);
  line("options", join(launch.options, " "));
  line("configuration", launch.config_file);
  if (!zygote) return;
  std::vector<std::string> own = zygote->spec.preload;
  own.erase(own.begin(), own.begin() + static_cast<std::ptrdiff_t>(zygote->plain_modules));
  line("preload", (own.empty() ? "" : join(own) + " and ") + std::to_string(zygote->plain_modules) +
                      " modules of the standard library");
  line("init file", zygote->spec.init_file);
  if (!env.is_object()) return;
  for (const json& one : list_at(env, "zygotes")) {
    line("python version", text_at(one, "python_version"));
    line("variables read", show_list(list_at(one, "read_variables")));
    break;
  }
}

}  // namespace

int run_explain(std::span<char* const> arguments) {
  // `brood explain` before a whole command line: explain run --env x script.py
  const std::string_view first = arguments.empty() ? "" : arguments[0];
  if ((first == "run" || first == "python") && access(arguments[0], F_OK) != 0)
    arguments = arguments.subspan(1);
  Result<ParsedRun> parsed = parse_run_options(arguments, "explain");
  if (!parsed) return fail(parsed.error().message, kUsage);
  if (parsed->help) {
    std::puts(
        "usage: brood explain <the arguments of brood run>\n\n"
        "Says whether the command line would run warm or cold, in which environment, and why.");
    return kSuccess;
  }
  Result<Plan> plan = make_plan(parsed->python, parsed->options, false);
  if (!plan) return fail(plan.error().message, kUsage);
  const RuntimeDir dir = runtime_dir();
  const Result<void> usable = check(dir);
  Result<ZygotePlan> zygote = plan_zygote(plan->launch, dir);
  json env;
  if (usable && !plan->key.empty()) {
    Result<json> answer = ask_daemon({{"command", "explain"}, {"key", plan->key}}, nullptr);
    if (!answer) return fail(answer.error().message);
    env = std::move(*answer);
  }
  const Explanation explanation = explain_plan(*plan, zygote, env, usable);
  std::printf("%s: %s\n", explanation.warm ? "warm" : "cold",
              harmless_lines(explanation.why).c_str());
  print_plan(*plan, zygote, env);
  line("to be warm", explanation.advice);
  return kSuccess;
}

}  // namespace brood
