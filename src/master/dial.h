// The way to an interpreter that a socket server starts (examples/gateways/socketserver.py): HELLO,
// AUTH with a token, and the source that it executes. docs/protocol.md, section 5. Blocks.
#pragma once

#include <cstdint>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "master/spec.h"

namespace brood::master {

// Until `deadline` (CLOCK_MONOTONIC, ns). `token` empty: there is none.
Result<Fd> dial(const HostAndPort& address, const std::string& token, const std::string& source,
                int64_t deadline);

// The first line of the file; `~/` is the user's home.
Result<std::string> read_token(const std::string& path);

}  // namespace brood::master
