// The target of a request, taken apart. Pure.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace brood {

// Decodes %XX once. An Error: a broken escape, or a NUL byte.
Result<std::string> percent_decode(std::string_view text);

// The other way: everything but letters, digits and -._~ is escaped.
std::string percent_encode(std::string_view text);

struct Target {
  std::string path;                                        // begins with "/"; not decoded
  std::vector<std::pair<std::string, std::string>> query;  // decoded, in order
};
Result<Target> parse_target(std::string_view target);

// "name", "name:80", "[::1]:80" in its parts. An Error: anything else.
struct Authority {
  std::string host;  // lower case, without brackets
  std::string port;  // empty: the scheme's
};
Result<Authority> parse_authority(std::string_view text);

}  // namespace brood
