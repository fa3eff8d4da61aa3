// brood and brood-python: the thin client. Static, without iostreams or exceptions; starts like
// /bin/true. Any command but `run` and `python` is executed by brood-tool.
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "launch/daemon_client.h"
#include "launch/hand_over.h"
#include "launch/plan.h"
#include "launch/run_options.h"
#include "launch/trace.h"
#include "wire/frame.h"

namespace brood {
namespace {

constexpr int kUsage = 2;
constexpr char kFailed[] =
    "the environment failed and is tried again later; `brood explain` says why";

int fail(const std::string& message, int status) {
  std::fprintf(stderr, "brood: %s\n", message.c_str());
  return status;
}

// The full program with the TOML parser: for other commands, and to read a configuration file the
// first time.
int run_tool(std::vector<std::string> words) {
  const std::string path = installed("libexec/brood/brood-tool");
  std::vector<char*> arguments;
  for (std::string& word : words)
    arguments.push_back(word.data());
  arguments.push_back(nullptr);
  execv(path.c_str(), arguments.data());
  return fail(sys_error("execute " + path).message, 1);
}

std::vector<std::string> resolve_words(const Plan& plan, std::span<char* const> all) {
  std::vector<std::string> words{"brood", "resolve-and-run", plan.drop_in ? "1" : "0"};
  words.insert(words.end(), all.begin(), all.end());
  return words;
}

// Of an init file that failed: its first line and its last one, which names the exception. The cold
// run executes it, too, and shows the rest.
std::string without_traceback(const std::string& text) {
  const size_t begin = text.find(" failed:\n");
  const size_t end = text.find_last_not_of('\n', text.find("\n\n"));  // then comes what it wrote
  if (!text.starts_with("the init file ") || begin == text.npos || end == text.npos) return text;
  const size_t last = text.rfind('\n', end) + 1;
  return text.substr(0, begin) + " failed: " + text.substr(last, end + 1 - last);
}

// Why the daemon could not prepare the environment; empty: it could, or has not tried.
std::string failure_of(const RuntimeDir& dir, const Plan& plan) {
  constexpr size_t kLimit = 1 << 20;
  Result<std::string> text = read_file(dir.failure_file(plan.key), kLimit);
  return text ? *text : "";
}

void show_failure(const Plan& plan, const std::string& failure) {
  if (failure.empty() || plan.launch.plain()) return;
  const std::string& config = plan.launch.config_file;
  if (!config.empty() && failure.starts_with(config + ":")) return;  // the cold way says it
  std::fprintf(stderr, "brood: this environment cannot be kept warm: %s\n",
               without_traceback(failure).c_str());
}

// `all`: the command line after `brood run` or `brood-python`.
int cold(const Plan& plan, const RuntimeDir& dir, std::span<char* const> all) {
  if (plan.launch.config_file.empty()) return fail(run_cold(plan, nullptr).message, 127);
  const std::string name =
      resolved_name(plan.launch.config_file, plan.launch.config_identity, plan.launch.env_name);
  Result<std::string> bytes = read_file(dir.resolved_file(name), kMaxFramePayload);
  if (!bytes || !check(dir)) return run_tool(resolve_words(plan, all));
  Result<Resolved> resolved = decode_resolved(*bytes);
  if (!resolved) return run_tool(resolve_words(plan, all));
  if (!plan.launch.python_chosen && !resolved->python.empty() &&
      access(resolved->python.c_str(), X_OK) != 0)
    return run_tool(resolve_words(plan, all));  // it has gone meanwhile
  if (!resolved->error.empty()) {
    std::fprintf(stderr, "brood: %s\n", resolved->error.c_str());
    if (!plan.drop_in) return kUsage;
  }
  return fail(run_cold(plan, &*resolved).message, 127);
}

std::string go_warm(Plan& plan, const RuntimeDir& dir) {
  if (Result<void> good = check(dir); !good && !plan.wait) {
    if (good.error().code != ENOENT) return good.error().message;
    ask_for_zygote(dir, plan.launch);
    return "no zygote has this environment yet";
  }
  NotRun why = hand_over(plan, dir.environment_socket(plan.key));
  if (why.no_zygote && plan.wait) {
    Result<void> warmed = wait_for_zygote(dir, plan.launch);
    if (!warmed) {
      const std::string failure = failure_of(dir, plan);
      if (!failure.empty()) {
        show_failure(plan, failure);
        return kFailed;
      }
      std::fprintf(stderr, "brood: not warm: %s\n", warmed.error().message.c_str());
      return warmed.error().message;
    }
    why = hand_over(plan, dir.environment_socket(plan.key));
  }
  if (why.no_zygote) {
    const std::string failure = failure_of(dir, plan);
    show_failure(plan, failure);
    ask_for_zygote(dir, plan.launch);
    if (!failure.empty()) return kFailed;
  }
  return why.reason;
}

int run(std::span<char* const> all, std::span<char* const> python, const RunOptions& options,
        bool drop_in) {
  Result<Plan> plan = make_plan(python, options, drop_in);
  if (!plan) return fail(plan.error().message, drop_in ? 127 : kUsage);
  if (!drop_in && !plan->distrusted.empty())
    fail(plan->distrusted + " (" + plan->remedy + ")", kUsage);  // says it, and goes on
  const RuntimeDir dir = runtime_dir();
  const char* brood = getenv("BROOD");
  if (brood && std::string_view(brood) == "off") {
    plan->cold_reason = "BROOD=off";
  }
  const std::string reason = plan->cold_reason.empty() ? go_warm(*plan, dir) : plan->cold_reason;
  trace("cold: " + reason);
  return cold(*plan, dir, all);
}

int run_command(std::span<char* const> arguments) {
  Result<ParsedRun> parsed = parse_run_options(arguments);
  if (!parsed) return fail(parsed.error().message, kUsage);
  if (parsed->help) {
    std::fputs(kRunUsage, stdout);
    return 0;
  }
  return run(arguments, parsed->python, parsed->options, false);
}

}  // namespace
}  // namespace brood

int main(int argc, char** argv) {
  const std::span<char* const> words(argv, static_cast<size_t>(argc));
  const char* slash = argc > 0 ? std::strrchr(argv[0], '/') : nullptr;
  const std::string_view name = slash ? slash + 1 : (argc > 0 ? argv[0] : "brood");
  if (name != "brood") return brood::run(words.subspan(1), words.subspan(1), {}, true);
  const std::string_view command = argc > 1 ? argv[1] : "";
  if (command == "run") return brood::run_command(words.subspan(2));
  if (command == "python") return brood::run(words.subspan(2), words.subspan(2), {}, true);
  std::vector<std::string> tool(words.begin(), words.end());
  if (tool.empty()) tool.emplace_back("brood");
  return brood::run_tool(std::move(tool));
}
