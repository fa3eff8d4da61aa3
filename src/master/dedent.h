// Source that stands indented in a program, as in a raw string. Pure.
#pragma once

#include <string>
#include <string_view>

namespace brood::master {

// Without the blanks that all lines begin with that have more than blanks, as Python's
// textwrap.dedent().
std::string dedent(std::string_view source);

}  // namespace brood::master
