#include "base/require.h"

#include <cstdio>
#include <cstdlib>

namespace brood {

void bug(const char* what, const char* file, int line) {
  std::fprintf(stderr, "brood: bug: %s (%s:%d)\n", what, file, line);
  std::abort();
}

}  // namespace brood
