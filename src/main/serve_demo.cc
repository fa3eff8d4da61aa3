#include "main/serve_demo.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/sys.h"
#include "daemon/words.h"
#include "launch/interpreter.h"

namespace brood {
namespace {

using Names = std::vector<std::string>;

constexpr const char* kSystemPython = "/usr/bin/python3";
constexpr int64_t kAnswerTime = 20 * kSecond;
constexpr size_t kMostAnswer = 4096;  // bytes

// Prints those of its arguments that cannot be imported; not from the working directory.
constexpr const char* kAsk =
    "import importlib.util, sys\n"
    "sys.path[:] = [place for place in sys.path if place]\n"
    "print(*[name for name in sys.argv[1:] if importlib.util.find_spec(name) is None])";

Names needed_modules(const EnvironmentConfig& env, const std::string& beside) {
  Names names;
  for (const std::string& module : env.preload) {
    const std::string name = module.substr(0, module.find('.'));
    const std::string own = beside + "/" + name;
    if (access(own.c_str(), F_OK) == 0 || access((own + ".py").c_str(), F_OK) == 0) continue;
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return names;
}

// Starts it with its output in `output`; -1: it cannot be started.
pid_t start(const Names& words, int output) {
  std::vector<char*> argv;
  for (const std::string& word : words)
    argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t pid = -1;
  const int failed = posix_spawn(&pid, argv[0], &files, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  return failed == 0 ? pid : -1;
}

// Up to the end of `input`; nothing if that does not come in time.
std::optional<std::string> read_to_end(int input) {
  const int64_t until = monotonic_ns() + kAnswerTime;
  std::string answer;
  char buffer[512];
  for (;;) {
    const int64_t left = (until - monotonic_ns()) / 1'000'000;
    pollfd wanted{input, POLLIN, 0};
    if (left <= 0 || answer.size() > kMostAnswer) return std::nullopt;
    if (poll(&wanted, 1, static_cast<int>(left)) <= 0) continue;
    const ssize_t n = read(input, buffer, sizeof buffer);
    if (n == 0) return answer;
    if (n > 0) answer.append(buffer, static_cast<size_t>(n));
    if (n < 0 && errno != EINTR) return std::nullopt;
  }
}

// Nothing: it does not answer.
std::optional<Names> missing_modules(const std::string& python, const Names& modules) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return std::nullopt;
  const Fd reading(ends[0]);
  Fd writing(ends[1]);
  Names words = {python, "-c", kAsk};
  words.insert(words.end(), modules.begin(), modules.end());
  const pid_t pid = start(words, writing.get());
  writing = Fd();
  if (pid < 0) return std::nullopt;
  const std::optional<std::string> answer = read_to_end(reading.get());
  if (!answer) kill(pid, SIGKILL);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!answer || !WIFEXITED(status) || WEXITSTATUS(status) != 0) return std::nullopt;
  Names missing;
  for (const std::string& name : modules)
    if ((" " + answer->substr(0, answer->find('\n')) + " ").find(" " + name + " ") !=
        std::string::npos)
      missing.push_back(name);
  return missing;
}

Result<Names> candidates() {
  Result<Interpreter> python = find_interpreter("");
  const char* named = getenv("BROOD_PYTHON");
  if (!python && named && *named) return python.error();
  Names found;
  if (python) found.push_back(python->path);
  const bool chosen = python && python->chosen;
  if (!chosen && (!python || python->path != kSystemPython)) found.push_back(kSystemPython);
  return found;
}

}  // namespace

Result<std::string> choose_demo_python(const ConfigFile& file) {
  const EnvironmentConfig* env = default_environment(file);
  if (!env || !env->python.empty()) return std::string();
  const Names modules = needed_modules(*env, file.directory());
  Result<Names> pythons = candidates();
  if (!pythons) return pythons.error();
  std::string said, packages;
  for (const std::string& python : *pythons) {
    const std::optional<Names> missing = missing_modules(python, modules);
    if (missing && missing->empty()) return python;
    said += (said.empty() ? "" : "; ") + python +
            (missing ? " has no " + join(*missing) : " cannot be asked");
  }
  for (const std::string& name : modules)
    packages += " python3-" + name;
  return Error{"--demo needs an interpreter with " + join(modules) + ": " + said +
               "; on Debian: apt install" + packages +
               ", or name an interpreter that has them in BROOD_PYTHON"};
}

}  // namespace brood
