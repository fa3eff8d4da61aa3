// Starting a gateway's interpreter: from a spec to a link on which both sides have said GREET.
// Blocks; any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "brood/value.h"
#include "master/process.h"
#include "master/spec.h"

namespace brood::master {

// An interpreter that has answered.
struct Started {
  std::unique_ptr<Process> process;  // null for what was reached over a socket
  Fd link;                           // a socket
  Fd complaints;      // standard error of the program that leads there; empty: there is none
  std::string ahead;  // bytes that came behind GREET
  std::string said;   // on standard error
  Dict greet;         // of the child
};

// `greet` is the parent's, without `master`. The error has what the programs on the way have said.
Result<Started> start(const Spec& spec, Dict greet, uint32_t context, int timeout_ms);

}  // namespace brood::master
