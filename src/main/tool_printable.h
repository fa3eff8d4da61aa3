// Text of others on a terminal. Pure.
#pragma once

#include <string>
#include <string_view>

namespace brood {

// `text` (UTF-8) with each control character, which a terminal would obey, written out: "\n",
// "\x1b", "\x9b".
std::string printable(std::string_view text);

}  // namespace brood
