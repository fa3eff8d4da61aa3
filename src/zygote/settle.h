// Settling the heap: allocators leave work for later and holes everywhere, and each forked child
// would find them anew, one page copied for each. Done once in the zygote, children allocate from
// memory that lies together.
#pragma once

namespace brood {

// Zygote, its one thread, with the GIL, as the last thing before the image. What it takes from the
// holes of Python's small-object allocator is never given back: memory that was resident anyway.
void settle_heap();

}  // namespace brood
