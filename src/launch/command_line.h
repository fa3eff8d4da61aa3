// Python's own command line, read as CPython's getopt does (Python/getopt.c,
// "+bBc:dEhiIJm:OPqRsStuvVW:xX:?"). Pure.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "wire/launch.h"

namespace brood {

struct CommandLine {
  std::vector<std::string> options;  // those fixed at start-up, one flag each, without -u
  bool unbuffered = false;           // -u
  bool ignore_environment = false;   // -E or -I: PYTHON* variables do not count
  ProgramKind kind = ProgramKind::kStdin;
  std::string program;                 // script path, code or module name
  std::vector<std::string> arguments;  // what the program gets
  std::string cold_reason;             // not empty: only the plain interpreter can honour this
};

// `arguments` is without argv[0]. Never fails: what python would reject is left to python (a cold
// reason).
CommandLine parse_command_line(std::span<char* const> arguments);

}  // namespace brood
