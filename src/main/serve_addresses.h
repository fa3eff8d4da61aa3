// Addresses of `brood serve`: unix:PATH, tcp:HOST:PORT, tls:HOST:PORT, http:HOST:PORT,
// https:HOST:PORT, gateway:HOST:PORT, execnet:HOST:PORT. http://HOST:PORT/ is accepted, too.
#pragma once

#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"

namespace brood {

inline constexpr int kServeBacklog = 1024;  // connections that wait to be accepted

struct Address {
  enum class Kind { kUnix, kTcp, kTls, kHttp, kHttps, kGateway, kExecnet };
  Kind kind = Kind::kHttp;
  std::string path;  // of kUnix; absolute
  std::string host;  // a name or an IP address, IPv6 without brackets
  std::string port;  // a number; "0": any free one

  bool is_http() const { return kind == Kind::kHttp || kind == Kind::kHttps; }
  bool has_tls() const { return kind == Kind::kTls || kind == Kind::kHttps; }
  std::string text() const;
};

Result<Address> parse_address(std::string_view text);

// Every address of `host` is of this machine alone (127.0.0.0/8, ::1) or there is no host (unix).
Result<bool> is_loopback(const Address& address);

// The address of all interfaces (0.0.0.0, ::).
bool is_wildcard(const Address& address);

// What this machine calls itself; empty if that cannot be the name of a host.
std::string machine_name();

// A host under which clients find `address`, after listen_on(): of a wildcard the name of this
// machine if that leads here, else a loopback address.
std::string reachable_host(const Address& address);

// Binds and listens; `address` then holds the real port. A Unix socket gets mode 0600 and replaces
// one that nobody listens on any more.
Result<Fd> listen_on(Address& address);

}  // namespace brood
