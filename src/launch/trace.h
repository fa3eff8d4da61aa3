// BROOD_TRACE=1: one line on stderr that says which way a run takes.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

namespace brood {

inline void trace(const std::string& text) {
  const char* wanted = std::getenv("BROOD_TRACE");
  if (wanted && *wanted && *wanted != '0') std::fprintf(stderr, "brood: %s\n", text.c_str());
}

}  // namespace brood
