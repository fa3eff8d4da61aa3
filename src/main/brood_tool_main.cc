// brood-tool: every command of brood but `run` and `python`. The thin client executes it with its
// own command line.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/sys.h"
#include "daemon/words.h"
#include "main/tool_bench.h"
#include "main/tool_client.h"
#include "main/tool_daemon.h"
#include "main/tool_env.h"
#include "main/tool_run.h"
#include "main/tool_session.h"
#include "main/tool_slap.h"
#include "main/tool_status.h"
#include "main/tool_token.h"
#include "main/tool_user.h"

namespace brood {
namespace {

// Commands whose arguments are not ours to parse; nothing: another command.
std::optional<int> run_raw(std::span<char*> words) {
  const std::string_view command = words.size() > 1 ? words[1] : "";
  if (command == "explain") return run_explain(words.subspan(2));
  if (command == "serve") return execute_serve(words.subspan(1));
  if (command == "resolve-and-run") return run_resolved(words.subspan(2));
  return std::nullopt;
}

void add_env(CLI::App& app, std::string& name, int& status) {
  CLI::App* env = app.add_subcommand("env", "list, show, warm or retire environments");
  env->require_subcommand(1);
  env->add_subcommand("list", "what is configured here, and what is warm")->callback([&status] {
    status = run_env_list();
  });
  CLI::App* show = env->add_subcommand("show", "everything about an environment");
  show->add_option("NAME", name, "its name, or the beginning of its key")->required();
  show->callback([&] { status = run_env_show(name); });
  CLI::App* warm = env->add_subcommand("warm", "prepare an environment and wait until it is ready");
  warm->add_option("NAME", name, "its name; none: the one that applies here");
  warm->callback([&] { status = run_env_warm(name); });
  CLI::App* retire = env->add_subcommand("retire", "let go of an environment; programs run on");
  retire->add_option("NAME", name, "its name, or the beginning of its key")->required();
  retire->callback([&] { status = run_env_retire(name); });
}

// Here for the help text: the thin client or run_raw() has them.
void add_elsewhere(CLI::App& app) {
  app.add_subcommand("run", "run a Python program; see brood run --help");
  app.add_subcommand("python",
                     "the same, with exactly the command line of python3 (also brood-python)");
  app.add_subcommand("serve", "serve sessions to browsers and programs; see brood serve --help");
  app.add_subcommand("explain", "say how a command line would run, and why");
}

// A word that is no command: say which one was probably meant.
std::optional<int> reject_unknown(const CLI::App& app, std::string_view typed) {
  if (typed.empty() || typed.front() == '-') return std::nullopt;
  std::vector<std::string> known;
  for (const CLI::App* command : app.get_subcommands(nullptr))
    known.push_back(command->get_name());
  if (std::find(known.begin(), known.end(), typed) != known.end()) return std::nullopt;
  return fail("unknown command " + std::string(typed) + did_you_mean(typed, known) +
                  "; see brood " + (app.get_parent() ? app.get_name() + " " : "") + "--help",
              kUsage);
}

int parse_and_run(int argc, char** argv) {
  int status = kSuccess;
  std::string name;
  bool as_json = false;
  bool follow = false;
  unsigned lines = 50;
  CLI::App app{"brood runs Python programs and sessions in warm interpreters.", "brood"};
  app.require_subcommand(1);
  app.set_version_flag("--version", "brood " BROOD_VERSION);
  app.footer("More: man brood");
  add_elsewhere(app);
  add_env(app, name, status);
  add_bench(app, status);
  add_slap(app, status);
  add_user_commands(app, status);
  add_token_commands(app, status);
  SessionCommand session;
  add_session(app, session, status);
  CLI::App* show = app.add_subcommand("status", "what is warm, and what it costs");
  show->add_flag("--json", as_json, "for programs");
  show->callback([&] { status = run_status(as_json); });
  app.add_subcommand("top", "the same, live")->callback([&] { status = run_top(); });
  app.add_subcommand("stop", "stop the daemon; programs run on")->callback([&] {
    status = run_stop();
  });
  CLI::App* logs = app.add_subcommand("logs", "the daemon's log");
  logs->add_flag("-f,--follow", follow, "go on with what is added");
  logs->add_option("-n,--lines", lines, "how many lines")->capture_default_str();
  logs->callback([&] { status = run_logs(follow, lines); });
  app.failure_message([](const CLI::App*, const CLI::Error& error) {
    return "brood: " + std::string(error.what()) + "; see brood --help\n";
  });
  if (std::optional<int> wrong = reject_unknown(app, argc > 1 ? argv[1] : "")) return *wrong;
  for (const std::string group : {"env", "session", "slap", "user", "token"})
    if (argc > 2 && argv[1] == group)
      if (std::optional<int> wrong = reject_unknown(*app.get_subcommand(group), argv[2]))
        return *wrong;
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kSuccess : kUsage;
  }
  return status;
}

// Output that is still in stdio's buffer is written here. A reader that has gone is nobody to tell.
int end_output(int status) {
  errno = EIO;  // it may have failed before
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return status;
  if (errno == EPIPE) return status;
  return fail(sys_error("write standard output").message, std::max(status, kFailure));
}

}  // namespace
}  // namespace brood

int main(int argc, char** argv) {
  if (std::optional<int> status = brood::run_raw({argv, static_cast<size_t>(argc)})) return *status;
  return brood::end_output(brood::parse_and_run(argc, argv));
}
