#include "main/tool_bench.h"

#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "base/sys.h"
#include "launch/daemon_client.h"
#include "launch/interpreter.h"
#include "main/tool_client.h"
#include "slap/bench_run.h"

namespace brood {
namespace {

int run(BenchOptions options) {
  Result<Interpreter> python = find_interpreter(options.python);
  if (!python) return fail(python.error().message);
  options.python = python->path;
  options.brood = installed("bin/brood");
  options.module = installed("lib/brood/_brood.abi3.so");
  options.scripts = installed("lib/brood/python/brood");
  return bench_run(options);
}

// A Python program of ours measures; becomes it.
int run_sessions(const std::string& wanted, const std::vector<std::string>& options) {
  Result<Interpreter> python = find_interpreter(wanted);
  if (!python) return fail(python.error().message);
  std::vector<std::string> words = {python->path,
                                    installed("lib/brood/python/brood") + "/bench_sessions.py",
                                    "--brood", installed("bin/brood")};
  words.insert(words.end(), options.begin(), options.end());
  std::vector<char*> arguments;
  for (std::string& word : words)
    arguments.push_back(word.data());
  arguments.push_back(nullptr);
  execv(arguments[0], arguments.data());
  return fail(sys_error("execute " + python->path).message);
}

void add_bench_sessions(CLI::App& bench, int& status) {
  CLI::App* command = bench.add_subcommand(
      "sessions", "what sessions of a server cost, beside a Jupyter kernel; takes a few minutes");
  auto python = std::make_shared<std::string>();
  command->add_option("--python", *python);
  command->set_help_flag();  // the rest of the command line, and its help, are the program's
  command->allow_extras();
  command->callback([command, python, &status] {
    std::vector<std::string> options = command->remaining();
    status = run_sessions(*python, options);
  });
}

}  // namespace

void add_bench(CLI::App& app, int& status) {
  CLI::App* bench = app.add_subcommand("bench", "measure this machine");
  bench->require_subcommand(1);
  CLI::App* command = bench->add_subcommand(
      "run", "cold against warm runs, and what fork costs; takes a few minutes");
  auto options = std::make_shared<BenchOptions>();
  command->add_option("--python", options->python, "the interpreter; it must have the modules");
  command->add_option("--preload", options->preload, "the modules that are kept warm")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--runs", options->runs, "warm runs")
      ->check(CLI::Range(10, 1'000'000))
      ->capture_default_str();
  command->add_option("--heap-mib", options->heap_mib, "the largest heap of the fork series")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  command->add_option("--spares", options->spares, "for the memory of one more spare")
      ->check(CLI::Range(1, 255))
      ->capture_default_str();
  command->add_option("--output", options->output, "writes <output>.json and <output>.svg")
      ->capture_default_str();
  command->callback([options, &status] { status = run(*options); });
  add_bench_sessions(*bench, status);
}

}  // namespace brood
