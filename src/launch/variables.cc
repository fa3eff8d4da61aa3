#include "launch/variables.h"

#include <algorithm>

namespace brood {
namespace {

constexpr std::string_view kPrefixes[] = {
    "PYTHON",  "LC_",   "LD_",   "OMP_",     "GOMP_",    "KMP_",   "OPENBLAS_",
    "GOTO_",   "MKL_",  "BLIS_", "NUMEXPR_", "MPL",      "NUMPY_", "NPY_",
    "MALLOC_", "CUDA_", "SSL_",  "XDG_C",    "XDG_DATA",
};
constexpr std::string_view kNames[] = {
    "HOME",   "LANG", "LANGUAGE", "LOGNAME",     "PATH",           "SHELL",
    "TMPDIR", "TZ",   "USER",     "VIRTUAL_ENV", "GLIBC_TUNABLES", "__PYVENV_LAUNCHER__",
};
// Read when they are used, or carried in the request.
constexpr std::string_view kPerRun[] = {"PYTHONUNBUFFERED", "PYTHONSTARTUP", "PYTHONBREAKPOINT",
                                        "PYTHON_HISTORY"};
constexpr std::string_view kCold[] = {
    "PYTHONINSPECT",      "PYTHONTRACEMALLOC", "PYTHONPROFILEIMPORTTIME",
    "PYTHONVERBOSE",      "PYTHONDEBUG",       "PYTHONDUMPREFS",
    "PYTHONDUMPREFSFILE", "PYTHONMALLOCSTATS", "PYTHONPERFSUPPORT",
};

template <size_t N>
bool contains(const std::string_view (&names)[N], std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

bool counts(std::string_view name, bool ignore_python) {
  if (name.starts_with("PYTHON") && (ignore_python || contains(kPerRun, name))) return false;
  if (contains(kNames, name)) return true;
  return std::any_of(std::begin(kPrefixes), std::end(kPrefixes),
                     [name](std::string_view prefix) { return name.starts_with(prefix); });
}

// Python makes it absolute with the working directory that it is started in.
bool relative_path(std::string_view name, std::string_view value) {
  if (name != "PYTHONPATH" && name != "PYTHONHOME" && name != "PYTHONUSERBASE") return false;
  for (;;) {
    if (value.empty() || value[0] != '/') return true;
    const size_t colon = value.find(':');
    if (colon == value.npos) return false;
    value.remove_prefix(colon + 1);
  }
}

}  // namespace

std::vector<std::string> startup_variables(char* const* environment, bool ignore_python) {
  std::vector<std::string> found;
  for (; *environment; environment++) {
    const std::string_view item = *environment;
    if (counts(item.substr(0, item.find('=')), ignore_python)) found.emplace_back(item);
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::string cold_variable(char* const* environment) {
  for (; *environment; environment++) {
    const std::string_view item = *environment;
    const size_t equals = item.find('=');
    if (equals == item.npos || equals + 1 == item.size()) continue;  // empty counts as unset
    const std::string_view name = item.substr(0, equals);
    // A warning is due at each start.
    const bool warns = name == "PYTHONCOERCECLOCALE" && item.substr(equals + 1) == "warn";
    if (warns || contains(kCold, name) || relative_path(name, item.substr(equals + 1)))
      return std::string(item.substr(0, equals));
  }
  return "";
}

}  // namespace brood
