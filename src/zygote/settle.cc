#include "zygote/settle.h"

#include <dlfcn.h>
#include <malloc.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "worker/py.h"

namespace brood {
namespace {

// glibc puts freed chunks aside and sorts them into its bins when the next larger allocation comes
// by, which writes all over the heap.
void settle_malloc() {
  malloc_trim(0);  // merges the chunks and puts them on the unsorted list
  constexpr size_t kLarge =
      100'000;  // larger than all bins of small chunks, smaller than what is mapped by itself
  void* volatile chunk = malloc(kLarge);  // volatile: compilers remove a pair without use
  free(chunk);
}

// CPython's Objects/obmalloc.c: requests up to 512 bytes are rounded up to classes, and served from
// pools of one class each, aligned to their size (4 KiB, since 3.10 16 KiB); a pool begins with a
// header of 48 bytes. A new pool is only begun when no pool of that class has a hole left.
constexpr size_t kClassStep = 16;
constexpr size_t kLargestClass = 512;
constexpr uintptr_t kPoolHeader = 48;
// What one class takes at most: there may be another allocator behind it than it says.
constexpr size_t kMostBytes = 2 << 20;

// Its blocks lie as described above; those of malloc (PYTHONMALLOC) and of the debug allocators
// (-X dev) do not.
bool allocates_from_pools() {
  using NameOf = const char* (*)();
  if (const auto name = reinterpret_cast<NameOf>(
          dlsym(RTLD_DEFAULT, "_PyMem_GetCurrentAllocatorName"))) {  // private, but in 3.9 to 3.13
    const char* found = name();
    return found && std::string_view(found) == "pymalloc";
  }
  const char* chosen = std::getenv("PYTHONMALLOC");
  const std::string_view wanted = chosen ? chosen : "";
  PyObject* flags = PySys_GetObject("flags");  // borrowed
  PyRef developer(flags ? PyObject_GetAttrString(flags, "dev_mode") : nullptr);
  if (!developer) PyErr_Clear();
  return (wanted.empty() || wanted == "default" || wanted == "pymalloc") && developer &&
         PyObject_IsTrue(developer.get()) == 0;
}

// Takes blocks of one class until a whole new pool has come in one piece; gives that pool back.
void fill_holes(size_t size, size_t pool) {
  const size_t pool_blocks = (pool - kPoolHeader) / size;
  std::vector<void*> fresh;  // blocks that follow each other from the begin of a pool
  fresh.reserve(pool_blocks);
  for (size_t count = 0; count < kMostBytes / size && fresh.size() < pool_blocks; count++) {
    void* block = PyObject_Malloc(size);
    if (!block) break;
    const auto at = reinterpret_cast<uintptr_t>(block);
    const bool first = at % pool == kPoolHeader;
    const bool next = !fresh.empty() && at == reinterpret_cast<uintptr_t>(fresh.back()) + size;
    if (!next) fresh.clear();
    if (next || first) fresh.push_back(block);
  }
  while (!fresh.empty()) {
    PyObject_Free(fresh.back());
    fresh.pop_back();
  }
}

}  // namespace

void settle_heap() {
  const size_t pool =
      PyLong_AsUnsignedLong(PySys_GetObject("hexversion")) >= 0x030a0000 ? 16384 : 4096;
  if (allocates_from_pools())
    for (size_t size = kClassStep; size <= kLargestClass; size += kClassStep)
      fill_holes(size, pool);
  settle_malloc();
}

}  // namespace brood
