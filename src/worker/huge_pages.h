// Huge pages for what a session has allocated, so that its copies are cheap: a fork then copies one
// entry for 2 MiB instead of 512. Worker process, between two cells, GIL not needed.
//
// Memory is collapsed with madvise(MADV_COLLAPSE), from Linux 6.1 on; before, nothing happens. A
// byte that is written afterwards costs a page of 4 KiB as before: the kernel splits the huge page
// first. Pages that a frozen copy shares are there twice until that copy is forgotten; where memory
// is not plentiful they are left alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_set>

namespace brood {

class HugePages {
 public:
  // Goes on collapsing until all is done or `wanted` (a descriptor) is readable. About a
  // millisecond for each 2 MiB.
  void collapse_while_idle(int wanted);

 private:
  bool worth_a_walk();
  // False: somebody wants the session.
  bool collapse_in(uintptr_t begin, uintptr_t end, int pagemap, int wanted);

  std::unordered_set<uintptr_t> done_;  // 2 MiB each; one that was split again stays split
  size_t walked_at_ = 0;                // bytes of memory of its own at the last whole walk
  bool shared_too_ = false;
  bool supported_ = true;
};

}  // namespace brood
