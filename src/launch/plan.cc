#include "launch/plan.h"

#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/context.h"
#include "launch/command_line.h"
#include "launch/interpreter.h"
#include "launch/process_state.h"
#include "launch/trust.h"
#include "launch/variables.h"

namespace brood {
namespace {

std::string real_path(const std::string& path) {
  char* resolved = realpath(path.c_str(), nullptr);
  std::string result = resolved ? resolved : "";
  free(resolved);
  return result;
}

// Where the search for brood.toml starts: the script's own folder, else the working directory.
std::string search_start(const CommandLine& line) {
  if (line.kind == ProgramKind::kScript) {
    const std::string script = real_path(line.program);
    struct stat st;
    if (!script.empty() && stat(script.c_str(), &st) == 0 && S_ISDIR(st.st_mode)) return script;
    if (const size_t slash = script.rfind('/'); slash != std::string::npos)
      return script.substr(0, slash);
  }
  return real_path(".");
}

std::string find_project_file(std::string dir) {
  for (;;) {
    const std::string candidate = dir + "/brood.toml";
    if (access(candidate.c_str(), F_OK) == 0) return candidate;
    if (dir.empty()) return "";
    dir.resize(dir.rfind('/') == std::string::npos ? 0 : dir.rfind('/'));
  }
}

std::string user_file() {
  std::string path;
  if (const char* config = getenv("XDG_CONFIG_HOME"); config && *config == '/') {
    path = std::string(config) + "/brood/config.toml";
  } else if (const char* home = getenv("HOME"); home && *home == '/') {
    path = std::string(home) + "/.config/brood/config.toml";
  }
  return !path.empty() && access(path.c_str(), F_OK) == 0 ? path : "";
}

void choose_configuration(const CommandLine& line, Plan& plan) {
  std::string file = find_project_file(search_start(line));
  if (file.empty()) file = user_file();
  if (file.empty()) return;
  if (std::optional<Distrust> bad = distrust(file, geteuid())) {
    plan.cold_reason = plan.distrusted = std::move(bad->why);
    plan.remedy = std::move(bad->remedy);
    return;
  }
  plan.launch.config_identity = identify(file.c_str());
  plan.launch.config_file = std::move(file);
}

void fill_request(const CommandLine& line, RunRequest& request) {
  request.kind = line.kind;
  request.program = line.program;
  request.arguments = line.arguments;
  const char* unbuffered = getenv("PYTHONUNBUFFERED");
  request.unbuffered = line.unbuffered || (!line.ignore_environment && unbuffered && *unbuffered);
  for (char** item = environ; *item; item++)
    request.environment.append(*item).push_back('\0');
  request.process = read_process_state();
}

// Standard input decides: a prompt needs an interpreter of its own, and a reader in the background
// must be stopped by the terminal, which only works for a process of that terminal's session.
std::string terminal_reason(const CommandLine& line) {
  pid_t foreground;
  if (ioctl(STDIN_FILENO, TIOCGPGRP, &foreground) != 0) return "";
  if (line.kind == ProgramKind::kStdin)
    return "an interactive prompt runs in an interpreter of its own";
  if (foreground != getpgrp()) return "it runs in the background of a terminal";
  return "";
}

std::string first_cold_reason(const CommandLine& line, const Interpreter& python) {
  if (!line.cold_reason.empty()) return line.cold_reason;
  if (!python.cold_reason.empty()) return python.cold_reason;
  if (!line.ignore_environment) {
    if (std::string name = cold_variable(environ); !name.empty())
      return name + " is set, which needs an interpreter of its own";
  }
  return terminal_reason(line);
}

}  // namespace

Result<Plan> make_plan(std::span<char* const> arguments, const RunOptions& options, bool drop_in) {
  Plan plan;
  plan.drop_in = drop_in;
  plan.wait = options.wait;
  for (const char* argument : arguments)
    plan.python_arguments.emplace_back(argument);
  const CommandLine line = parse_command_line(arguments);
  Result<Interpreter> python = find_interpreter(options.python);
  if (!python) return python.error();
  plan.understood = line.cold_reason.empty();
  Launch& launch = plan.launch;
  launch.python = python->path;
  launch.python_chosen = python->chosen;
  launch.python_file = python->file;
  launch.options = line.options;
  launch.variables = startup_variables(environ, line.ignore_environment);
  launch.env_name = options.env_name;
  launch.preload = options.preload;
  if (!options.init_file.empty()) {
    launch.init_file = real_path(options.init_file);
    if (launch.init_file.empty()) return sys_error("read the init file " + options.init_file);
    launch.init_identity = identify(launch.init_file.c_str());
  }
  if (launch.plain()) choose_configuration(line, plan);
  if (!launch.env_name.empty() && launch.config_file.empty() && plan.cold_reason.empty())
    return Error{"no environment " + launch.env_name +
                 ": no brood.toml was found upwards from here, and no user configuration"};
  if (std::string why = first_cold_reason(line, *python); !why.empty()) plan.cold_reason = why;
  fill_request(line, plan.request);
  plan.request.orig_argv.push_back(launch.python);
  for (const std::string& argument : plan.python_arguments)
    plan.request.orig_argv.push_back(argument);
  if (plan.cold_reason.empty()) {
    launch.context = process_context();
    plan.key = environment_key(launch);
  }
  return plan;
}

}  // namespace brood
