// require(): the lane for bugs. Prints what was expected and aborts; never used for input or system
// calls.
#pragma once

namespace brood {

[[noreturn]] void bug(const char* what, const char* file, int line);

}  // namespace brood

#define require(condition, what) \
  ((condition) ? static_cast<void>(0) : ::brood::bug(what, __FILE__, __LINE__))
