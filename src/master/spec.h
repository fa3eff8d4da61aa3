// The spec of a gateway: what interpreter it is and how to get there. Pure.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace brood::master {

enum class Transport { kPopen, kWarm, kSsh, kSudo, kSocket };

struct Spec {
  std::string text;  // as it was given
  Transport transport = Transport::kPopen;
  std::string target;       // host, user, HOST:PORT
  bool warm = false;        // kWarm, or kSocket of a server that has warm environments
  std::string environment;  // which; empty: the default
  std::string python, ssh_config, token_file, chdir, id;
  std::optional<int> nice;
  std::vector<std::pair<std::string, std::string>> env;

  bool is_elsewhere() const {
    return transport == Transport::kSsh || transport == Transport::kSocket;
  }
  std::string where() const;  // for messages: "ssh=host"
};

// The error names the part that is wrong.
Result<Spec> parse_spec(const std::string& text);

// As a shell cuts a line into words: blanks, quotes, backslashes. Quotes that are open end with it.
std::vector<std::string> split_words(const std::string& text);

struct HostAndPort {
  std::string host, port;
};
// HOST:PORT, [IPV6]:PORT or :PORT, which is this machine.
Result<HostAndPort> split_address(const std::string& text);

}  // namespace brood::master
