// The launch messages: which environment a program needs, and the program itself. Pure.
// Boundary: client <-> worker (kRun ... kStopped), client -> daemon (kWarm).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/sys.h"

namespace brood {

// Everything that is fixed when an interpreter starts, as the client sees it. Two programs may
// share a zygote only if their Launch values are equal; the environment key is a hash of the
// encoding.
struct Launch {
  std::string python;  // absolute path; the interpreter's argv[0]
  bool python_chosen =
      false;  // by --python or BROOD_PYTHON: goes before the configuration's `python`
  FileIdentity python_file;          // another interpreter at the same path is another environment
  std::vector<std::string> options;  // python's own options, as typed, without -u
  std::vector<std::string>
      variables;            // NAME=value of those read at start-up (see launch/variables.h), sorted
  std::string config_file;  // the brood.toml or user file that applies; empty: none
  FileIdentity config_identity;
  std::string env_name;              // --env; empty: the file's default
  std::vector<std::string> preload;  // --preload
  std::string init_file;             // --init, absolute
  FileIdentity init_identity;
  std::string context;  // user, groups, namespaces, privileges (see base/context.h)

  // Nothing was configured or asked for: the plain environment of that interpreter.
  bool plain() const { return config_file.empty() && preload.empty() && init_file.empty(); }
};

std::string encode(const Launch& launch);
Result<Launch> decode_launch(std::string_view payload);

// 32 hexadecimal digits: XXH3-128 of the encoding. Names the environment's socket.
std::string environment_key(const Launch& launch);

enum class ProgramKind : uint8_t {
  kScript = 0,
  kCommand = 1,
  kModule = 2,
  kStdin = 3,
  kSession = 4  // not one program, but cells: docs/protocol.md, section 4
};
// Where a session's worker finds its control socket: below the connection, above all others.
inline constexpr uint32_t kControlDescriptor = 190;

inline constexpr size_t kResourceLimits = 16;  // RLIM_NLIMITS on Linux
struct ResourceLimit {
  uint64_t soft = 0;
  uint64_t hard = 0;
  bool operator==(const ResourceLimit&) const = default;
};

// What the program inherits from its caller besides descriptors.
struct ProcessState {
  uint32_t umask = 022;
  int32_t nice = 0;
  uint64_t ignored_signals = 0;  // bit n-1: signal n is ignored
  uint64_t blocked_signals = 0;
  std::array<ResourceLimit, kResourceLimits> limits{};
  std::string cpu_affinity;  // sched_getaffinity's mask, raw
};

struct RunRequest {
  ProgramKind kind = ProgramKind::kScript;
  std::string program;                 // path, code or module name; empty for kStdin
  std::vector<std::string> arguments;  // sys.argv[1:]
  std::vector<std::string> orig_argv;  // sys.orig_argv
  std::string environment;             // NAME=value, each ended by NUL
  bool unbuffered = false;             // -u or PYTHONUNBUFFERED
  ProcessState process;
  // The descriptors that travel with the frame: the first is the working directory, then one for
  // each number.
  std::vector<uint32_t> descriptor_numbers;  // ascending, without duplicates
};

std::string encode(const RunRequest& request);
Result<RunRequest> decode_run_request(std::string_view payload);

// The worker will run the program. From here on the client must not run it a second time.
struct Accepted {
  uint32_t pid = 0;
};
std::string encode(const Accepted& accepted);
Result<Accepted> decode_accepted(std::string_view payload);

// Nothing of the program ran; the client executes the plain interpreter.
struct Refused {
  std::string reason;  // a clause for `brood explain` and BROOD_TRACE
};
std::string encode(const Refused& refused);
Result<Refused> decode_refused(std::string_view payload);

// How the program ended: with an exit status (0-255) or by a signal.
struct Exited {
  bool signaled = false;
  uint32_t code = 0;
};
std::string encode(const Exited& exited);
Result<Exited> decode_exited(std::string_view payload);

// The program was stopped (SIGTSTP, SIGSTOP, ...); the client stops itself, too.
struct Stopped {
  uint32_t signal = 0;
};
std::string encode(const Stopped& stopped);
Result<Stopped> decode_stopped(std::string_view payload);

// The daemon's answer to kWarmWait.
struct Warmed {
  bool ok = false;
  std::string text;  // why not
};
std::string encode(const Warmed& warmed);
Result<Warmed> decode_warmed(std::string_view payload);

}  // namespace brood
