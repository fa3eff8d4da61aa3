// The options of `brood run`, up to python's own command line. Pure.
#pragma once

#include <span>

#include "launch/plan.h"

namespace brood {

struct ParsedRun {
  RunOptions options;
  bool help = false;              // --help: print kRunUsage
  std::span<char* const> python;  // python's command line, without argv[0]
};

inline constexpr char kRunUsage[] =
    "usage: brood run [--env NAME] [--preload M1,M2] [--init FILE] [--python EXE] [--wait]\n"
    "                 [python options] script.py | -c code | -m module | - [args...]\n"
    "\n"
    "Runs a Python program in a warm interpreter, or in a plain one when that is not possible.\n"
    "\n"
    "  --env NAME       the environment of that name in brood.toml or the user's configuration\n"
    "  --preload M1,M2  an environment of its own with these modules loaded\n"
    "  --init FILE      the same, with this file executed once; the program sees what it defined\n"
    "  --python EXE     the interpreter (else BROOD_PYTHON, the virtual environment's, the first "
    "in PATH)\n"
    "  --wait           wait until the environment is warm instead of running cold this time\n"
    "\n"
    "BROOD=off runs everything cold; BROOD_TRACE=1 says on stderr which way a run takes.\n"
    "`brood explain <the same arguments>` says why.\n";

// `arguments`: what follows `brood run`, or another `command` that takes the same. Fails with a
// message for people; the exit status is then 2.
Result<ParsedRun> parse_run_options(std::span<char* const> arguments, const char* command = "run");

}  // namespace brood
