// Where a server of sessions is: "unix:PATH", "tcp:HOST:PORT" or "tls:HOST:PORT". Pure but for the
// defaults.
#pragma once

#include <string>

#include "base/result.h"

namespace brood {

struct ServerAddress {
  enum class Kind { kUnix, kTcp, kTls };
  Kind kind = Kind::kUnix;
  std::string path;        // kUnix
  std::string host, port;  // the others; an IPv6 address without its brackets
};

Result<ServerAddress> parse_server_address(const std::string& text);

// The variable BROOD_SERVER, else the socket of the user's own `brood serve`.
std::string default_server_address();

}  // namespace brood
