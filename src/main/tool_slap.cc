#include "main/tool_slap.h"

#include <memory>

#include "launch/daemon_client.h"
#include "launch/interpreter.h"
#include "main/tool_client.h"
#include "slap/session_slap.h"

namespace brood {
namespace {

int run(SessionSlapOptions options) {
  if (!options.plot.empty()) {
    Result<Interpreter> python = find_interpreter(options.python);
    if (!python) return fail(python.error().message);
    options.python = python->path;
    options.scripts = installed("lib/brood/python/brood");
  }
  return session_slap(options);
}

}  // namespace

void add_slap(CLI::App& app, int& status) {
  CLI::App* slap = app.add_subcommand("slap", "put load on a server of sessions, and measure it");
  slap->require_subcommand(1);
  CLI::App* command = slap->add_subcommand(
      "session", "threads with connections with a session each, over brood's own protocol");
  auto options = std::make_shared<SessionSlapOptions>();
  const auto number = [&](const char* name, int& value, const char* what) {
    command->add_option(name, value, what)->check(CLI::Range(1, 1'000'000))->capture_default_str();
  };
  number("--threads", options->threads, "at the same time");
  number("--connections", options->connections, "of each thread; each has a session");
  number("--executions", options->executions, "cells of each session");
  command->add_option("--env", options->env, "the environment; default: the server's");
  command->add_option("--code", options->code, "of every cell")->capture_default_str();
  command
      ->add_option("--checkpoints", options->checkpoints,
                   "how many are kept; 0: none; default: as the server has it")
      ->check(CLI::Range(0, 256));
  command->add_option("--server", options->server,
                      "unix:PATH, tcp:HOST:PORT or tls:HOST:PORT; default: BROOD_SERVER, else your "
                      "own");
  command->add_option("--json", options->json, "write the figures to this file");
  command->add_option("--plot", options->plot, "draw the latencies into this SVG file");
  command->add_option("--python", options->python, "the interpreter that draws; needs matplotlib");
  command->callback([options, &status] { status = run(*options); });
}

}  // namespace brood
