#include "main/tool_bench.h"

#include <memory>

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
}

}  // namespace brood
