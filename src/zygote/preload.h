// Loading an environment in a zygote. Zygote process, its one thread, GIL held, before the first
// fork.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "wire/control.h"
#include "worker/py.h"

namespace brood {

// What the loaded state came from; all absolute.
struct Dependencies {
  std::vector<std::string> files;
  std::vector<std::string> folders;  // where importable names may appear or vanish
  std::vector<std::string> absent;   // must go on not existing
};

struct Variable {
  std::string name;
  std::optional<std::string> value;  // none: unset
};

struct Preloaded {
  Dependencies dependencies;
  // Environment variables the preload read, with the value it saw. A program whose own value
  // differs must not see what was loaded with this one.
  std::vector<Variable> variables;
  // What the preload, or python at its start (PEP 538), did to the environment: programs see that,
  // too.
  std::vector<Variable> changes;
  std::vector<int> open_descriptors;  // left open by the preload, ascending
  std::string output;                 // written to stdout and stderr meanwhile
  size_t modules = 0;
};

// Imports, executes the init file, checks that the process can be forked (threads, sockets,
// devices), collects and freezes. The Error is text for people: a traceback, or what stands in the
// way and which module brought it. `own_descriptors`: brood's, to be told from the preload's.
Result<Preloaded> preload(const ZygoteSpec& spec, const std::vector<int>& own_descriptors);

}  // namespace brood
