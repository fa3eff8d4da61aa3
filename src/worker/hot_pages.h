// Hot pages: what every program touches. A forked process pays a page fault for each page it
// touches first; those that any program touches can be had before there is one, in a few calls.
// Which they are is not guessed: a rehearsal (a child that runs an empty program and leaves) is
// asked afterwards.
#pragma once

#include <cstdint>
#include <vector>

namespace brood {

struct PageRun {
  uintptr_t begin = 0;
  uintptr_t end = 0;
  bool written = false;  // has a private copy; else it is only mapped
};

// The pages of this process that are present, from /proc/self/pagemap, without the stack and
// special mappings. About 1 ms for a process with large libraries.
std::vector<PageRun> present_pages();

// Spare, before it waits: has the kernel map the runs and copy those written (MADV_POPULATE_READ
// and _WRITE, Linux 5.14; older kernels do nothing, and the faults are taken later).
void populate(const std::vector<PageRun>& runs);

}  // namespace brood
