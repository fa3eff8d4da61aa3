// The way to an interpreter that a socket server starts or forks
// (examples/gateways/socketserver.py, `brood serve`). docs/protocol.md, section 8, "Servers".
// Blocks.
#pragma once

#include <cstdint>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "master/spec.h"

namespace brood::master {

struct Dialled {
  Fd link;
  bool is_context;  // it needs no bootstrap
};
// Until `deadline` (CLOCK_MONOTONIC, ns). `source`: what an interpreter executes that is none yet.
Result<Dialled> dial(const Spec& spec, const std::string& source, int64_t deadline);

}  // namespace brood::master
