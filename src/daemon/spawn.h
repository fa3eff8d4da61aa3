// Starts a zygote's interpreter: a new session of its own, an environment that is exactly what is
// asked for, and no descriptor but the ones named here. Daemon process; nothing of ours runs
// between fork and exec.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace brood {

struct InterpreterSpec {
  std::string python;                  // absolute; also argv[0]
  std::vector<std::string> options;    // python's own options, before -c
  std::vector<std::string> variables;  // the whole environment, NAME=value
  std::string module_path;             // _brood.abi3.so
};

struct ZygoteProcess {
  pid_t pid = -1;  // valid until it is reaped
  Fd process;      // its pidfd: readable once it has ended
  Fd control;      // our end of the control socket (its descriptor 3)
  Fd output;       // what it writes to its descriptors 1 and 2
};

Result<ZygoteProcess> start_interpreter(const InterpreterSpec& spec);

// The one-line program that loads the extension and hands the process to it. Exposed for its test.
std::string bootstrap_source(const std::string& module_path);

// `variables` with `overrides` put in their place: one entry for each name.
std::vector<std::string> merge_variables(std::vector<std::string> variables,
                                         const std::vector<std::string>& overrides);

// <prefix>/lib/brood/_brood.abi3.so, found from the running program's own place.
std::string module_path();

}  // namespace brood
