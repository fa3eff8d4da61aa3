// The image: fork without copying page tables.
//
// fork() copies the page tables of anonymous memory, page by page, and marks every page
// copy-on-write. Private mappings of a file need none of that: their pages can be found again.
// make_image() therefore copies every private region with content of its own into a memfd and maps
// the memfd over it, privately, at the same place: the same bytes, the same behaviour, but fork's
// cost no longer grows with the heap. docs/image.md has the figures.
#pragma once

#include <cstddef>

#include "base/result.h"

namespace brood {

struct ImageReport {
  size_t regions = 0;  // replaced
  size_t bytes = 0;    // their size
};

// Zygote, its one thread, right before the first spare; the stack, shared and special mappings are
// left alone. The process goes on as if nothing had happened. An Error (no memory, a file-size
// limit) leaves a correct process with fewer regions replaced, or none.
Result<ImageReport> make_image();

}  // namespace brood
