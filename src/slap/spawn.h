// Whole processes, started and timed. Any process with a working posix_spawn; blocking.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace brood {

struct Command {
  std::vector<std::string> words;  // words[0] is the executable's path
  std::vector<std::string>
      environment;  // NAME=value on top of this process' own; NAME alone removes it
};

struct Finished {
  double microseconds = 0;  // from before posix_spawn to after waitpid
  int status = 0;           // exit status, or 128 + signal
  std::string output;       // stdout, if it was asked for
};

enum class Output { kDiscard, kCapture };

// Standard input is /dev/null; standard error passes through.
Result<Finished> run_command(const Command& command, Output output);

// Runs the command `runs` times from each of `clients` threads; microseconds from the first start
// to the last end. Fails if one run fails.
Result<double> run_parallel(const Command& command, int clients, int runs);

}  // namespace brood
