// The plan for one command line: which interpreter, which environment, what to run, and whether it
// may go warm. Thin client and `brood explain`; reads files' identities and the environment, starts
// nothing.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "wire/launch.h"
#include "wire/resolved.h"

namespace brood {

// The options of `brood run`; brood-python has none of its own.
struct RunOptions {
  std::string env_name;              // --env
  std::vector<std::string> preload;  // --preload
  std::string init_file;             // --init, as typed
  std::string python;                // --python
  bool wait = false;                 // --wait: wait until the environment is warm
};

struct Plan {
  Launch launch;
  RunRequest request;       // all but the descriptors
  std::string key;          // environment_key(launch)
  std::string cold_reason;  // not empty: this command line never goes warm
  std::string distrusted;   // why a configuration file that was found is not obeyed
  std::string remedy;       // and what to do about it
  bool understood = true;   // python's command line was read to its end
  bool drop_in = false;     // brood-python: on a broken configuration warn and run plainly
  bool wait = false;
  std::vector<std::string>
      python_arguments;  // python's command line after argv[0]: options, program, arguments
};

// `arguments`: a python command line without argv[0]. Fails only when no interpreter is found.
Result<Plan> make_plan(std::span<char* const> arguments, const RunOptions& options, bool drop_in);

// Executes the plain interpreter in this process, as the plan and the configuration say. Returns
// only on failure. `resolved`: what the configuration says, nullptr when none applies.
Error run_cold(const Plan& plan, const Resolved* resolved);

}  // namespace brood
