#include "daemon/spawn.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/pointers.h"
#include "base/sys.h"

namespace brood {
namespace {

constexpr int kControlFd = 3;
// A worker overwrites this argument with its program's own command line, for ps.
constexpr size_t kCommandLinePadding = 4096;  // bytes

// A bytes literal within a string literal: the backslashes are for the inner one.
std::string python_literal(const std::string& text) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out = "b'";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    out.append("\\\\x").push_back(kDigits[byte >> 4]);
    out.push_back(kDigits[byte & 15]);
  }
  return out + "'";
}

bool plain_path(const std::string& path) {
  return std::all_of(path.begin(), path.end(), [](char c) {
    return c >= ' ' && c <= '~' && c != '\'' && c != '"' && c != '\\';
  });
}

// The forms that posix_spawn takes; released with the object.
struct SpawnForms {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  SpawnForms() {
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
  }
  SpawnForms(const SpawnForms&) = delete;
  ~SpawnForms() {
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
  }
};

// New session, default dispositions, empty mask, cwd /, descriptors 0-3 and no other.
void fill(SpawnForms& forms, int control, int output) {
  posix_spawn_file_actions_addopen(&forms.files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&forms.files, output, 1);
  posix_spawn_file_actions_adddup2(&forms.files, output, 2);
  posix_spawn_file_actions_adddup2(&forms.files, control, kControlFd);
  posix_spawn_file_actions_addclosefrom_np(&forms.files, kControlFd + 1);
  posix_spawn_file_actions_addchdir_np(&forms.files, "/");
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&forms.attributes, &none);
  posix_spawnattr_setsigdefault(&forms.attributes, &all);
  posix_spawnattr_setflags(&forms.attributes,
                           POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
}

// Above the numbers that the child's forms use, so that no dup2 of theirs is onto itself.
Result<Fd> above_child_range(int fd) {
  Fd moved = duplicate_above(fd, kControlFd + 1);
  if (!moved) return sys_error("duplicate a descriptor");
  return moved;
}

Result<pid_t> spawn(const InterpreterSpec& spec, int control, int output) {
  std::vector<std::string> arguments{spec.python};
  arguments.insert(arguments.end(), spec.options.begin(), spec.options.end());
  arguments.insert(arguments.end(), {"-c", bootstrap_source(spec.module_path),
                                     std::string(kCommandLinePadding, ' ')});
  std::vector<std::string> variables = spec.variables;
  SpawnForms forms;
  fill(forms, control, output);
  pid_t pid = -1;
  const int error = posix_spawn(&pid, spec.python.c_str(), &forms.files, &forms.attributes,
                                pointers(arguments).data(), pointers(variables).data());
  if (error != 0) return sys_error("execute " + spec.python, error);
  return pid;
}

std::string_view name_of(std::string_view variable) {
  return variable.substr(0, variable.find('='));
}

}  // namespace

std::string bootstrap_source(const std::string& module_path) {
  const std::string path = plain_path(module_path)
                               ? "'" + module_path + "'"
                               : "__import__('os').fsdecode(" + python_literal(module_path) + ")";
  return "exec(\"import _imp, _frozen_importlib as f; s = f.ModuleSpec('_brood', None, origin=" +
         path + "); m = _imp.create_dynamic(s); _imp.exec_dynamic(m); m.serve(" +
         std::to_string(kControlFd) + ")\", {})";
}

Result<ZygoteProcess> start_interpreter(const InterpreterSpec& spec) {
  std::array<int, 2> pair{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0)
    return sys_error("create a control socket");
  ZygoteProcess out;
  out.control.reset(pair[0]);
  Fd theirs(pair[1]);
  if (pipe2(pair.data(), O_CLOEXEC | O_NONBLOCK) != 0) return sys_error("create a pipe");
  out.output.reset(pair[0]);
  Fd writer(pair[1]);
  fcntl(writer.get(), F_SETFL, 0);  // blocking for the interpreter
  Result<Fd> control = above_child_range(theirs.get());
  if (!control) return control.error();
  Result<Fd> output = above_child_range(writer.get());
  if (!output) return output.error();
  Result<pid_t> pid = spawn(spec, control->get(), output->get());
  if (!pid) return pid.error();
  out.pid = *pid;
  out.process.reset(static_cast<int>(syscall(SYS_pidfd_open, out.pid, 0)));
  if (!out.process) {
    const Error error = sys_error("watch the interpreter");
    kill(out.pid, SIGKILL);
    waitpid(out.pid, nullptr, 0);
    return error;
  }
  fcntl(out.process.get(), F_SETFD, FD_CLOEXEC);
  return out;
}

std::vector<std::string> merge_variables(std::vector<std::string> variables,
                                         const std::vector<std::string>& overrides) {
  for (const std::string& item : overrides) {
    std::erase_if(variables,
                  [&](const std::string& other) { return name_of(other) == name_of(item); });
    variables.push_back(item);
  }
  return variables;
}

std::string module_path() {
  const std::string self = read_link("/proc/self/exe");
  const std::string bin = self.substr(0, self.rfind('/'));
  return bin.substr(0, bin.rfind('/')) + "/lib/brood/_brood.abi3.so";
}

}  // namespace brood
