#include "launch/interpreter.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string_view>

#include "launch/daemon_client.h"

namespace brood {
namespace {

bool executable(const std::string& path) { return access(path.c_str(), X_OK) == 0; }

std::string working_directory() {
  char* path = getcwd(nullptr, 0);
  std::string result = path ? path : "";
  free(path);
  return result;
}

std::string parent(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return "";
  return slash == 0 && path.size() > 1 ? "/" : path.substr(0, slash);
}

bool is_script(const std::string& path) {
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char magic[2];
  return fd && read(fd.get(), magic, 2) == 2 && magic[0] == '#' && magic[1] == '!';
}

std::string first_word(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\r\n:");
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_first_of(" \t\r\n:", begin) - begin);
}

// The name of the version that pyenv's shim would choose; "system" when it says nothing.
std::string pyenv_version(const std::string& root) {
  constexpr size_t kLimit = 4096;
  if (const char* forced = getenv("PYENV_VERSION"); forced && *forced) return first_word(forced);
  for (std::string dir = working_directory(); !dir.empty(); dir = parent(dir)) {
    Result<std::string> text = read_file(dir + (dir == "/" ? "" : "/") + ".python-version", kLimit);
    if (text && !first_word(*text).empty()) return first_word(*text);
    if (dir == "/") break;
  }
  Result<std::string> text = read_file(root + "/version", kLimit);
  return text && !first_word(*text).empty() ? first_word(*text) : "system";
}

enum class Shim { kNone, kFollowed, kSystem, kUnknown };

// If `path` is a pyenv shim, replaces it by the interpreter it would execute.
Shim follow_shim(std::string& path) {
  const std::string folder = parent(path);
  const std::string root = parent(folder);
  if (!folder.ends_with("/shims") || !is_script(path)) return Shim::kNone;
  if (!identify((root + "/versions").c_str()).exists()) return Shim::kUnknown;
  const std::string version = pyenv_version(root);
  if (version == "system") return Shim::kSystem;
  const std::string target = root + "/versions/" + version + "/bin/python3";
  if (!executable(target)) return Shim::kUnknown;
  path = target;
  return Shim::kFollowed;
}

Interpreter describe(std::string path, bool chosen) {
  Interpreter found;
  if (follow_shim(path) == Shim::kUnknown || is_script(path))
    found.cold_reason =
        path + " is a script that chooses an interpreter; name that one in BROOD_PYTHON";
  found.path = std::move(path);
  found.file = identify(found.path.c_str());
  found.chosen = chosen;
  return found;
}

// Searches PATH for `name`, passing over brood itself and over shims that mean "the system's".
std::string search_path(std::string_view name, std::string_view path) {
  const FileIdentity self = identify("/proc/self/exe");
  while (!path.empty()) {
    const size_t colon = path.find(':');
    std::string candidate(path.substr(0, colon));
    path = colon == path.npos ? std::string_view() : path.substr(colon + 1);
    if (candidate.empty()) candidate = working_directory();
    candidate.append("/").append(name);
    if (candidate[0] != '/') candidate = working_directory() + "/" + candidate;
    if (!executable(candidate)) continue;
    const FileIdentity file = identify(candidate.c_str());
    if (file.device == self.device && file.inode == self.inode) continue;
    std::string followed = candidate;
    if (follow_shim(followed) == Shim::kSystem) continue;
    return candidate;
  }
  return "";
}

// The thin client, which would execute itself for ever.
bool is_brood(const std::string& path) {
  const FileIdentity file = identify(path.c_str());
  for (const std::string& self : {std::string("/proc/self/exe"), installed("bin/brood")}) {
    const FileIdentity own = identify(self.c_str());
    if (file.exists() && file.device == own.device && file.inode == own.inode) return true;
  }
  return false;
}

Result<Interpreter> find_named(const std::string& name, const char* who) {
  std::string path = name;
  if (name.find('/') == std::string::npos) {
    const char* search = getenv("PATH");
    path = search_path(name, search ? search : "/usr/local/bin:/usr/bin:/bin");
  } else if (name[0] != '/') {
    path = working_directory() + "/" + name;
  }
  if (is_brood(path) || (path.empty() && (name == "brood" || name == "brood-python")))
    return Error{std::string(who) + " names " + name +
                 ", which is brood itself; name the interpreter that it shall run"};
  if (path.empty() || !executable(path))
    return Error{std::string(who) + " names " + name + ", which is no executable file"};
  return describe(std::move(path), true);
}

}  // namespace

Result<Interpreter> find_interpreter(const std::string& wanted) {
  if (!wanted.empty()) return find_named(wanted, "--python");
  if (const char* named = getenv("BROOD_PYTHON"); named && *named)
    return find_named(named, "BROOD_PYTHON");
  if (const char* venv = getenv("VIRTUAL_ENV"); venv && *venv == '/') {
    std::string path = std::string(venv) + "/bin/python3";
    if (executable(path)) return describe(std::move(path), false);
  }
  const char* search = getenv("PATH");
  std::string path = search_path("python3", search ? search : "/usr/local/bin:/usr/bin:/bin");
  if (path.empty())
    return Error{"no python3 in PATH besides brood itself; set BROOD_PYTHON to an interpreter"};
  return describe(std::move(path), false);
}

}  // namespace brood
