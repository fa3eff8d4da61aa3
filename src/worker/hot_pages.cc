#include "worker/hot_pages.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/sys.h"
#include "worker/page_map.h"

namespace brood {
namespace {

// A read fault of a file's page maps those around it, too, which costs much less than asking for
// each (fault_around_bytes in the kernel's mm/memory.c).
constexpr uintptr_t kFaultAround = 65536;
constexpr int kPopulateRead = 22;  // MADV_POPULATE_READ; not in every libc's headers
constexpr int kPopulateWrite = 23;

void append(std::vector<PageRun>& runs, uintptr_t page, bool written) {
  if (!runs.empty() && runs.back().end == page && runs.back().written == written)
    runs.back().end += kPage;
  else
    runs.push_back({page, page + kPage, written});
}

void scan(int pagemap, uintptr_t begin, uintptr_t end, std::vector<PageRun>& runs) {
  uint64_t entries[512];
  for (uintptr_t at = begin; at < end;) {
    const size_t want = std::min<size_t>((end - at) / kPage, std::size(entries));
    const ssize_t got = pread(pagemap, entries, want * sizeof entries[0],
                              static_cast<off_t>(at / kPage * sizeof entries[0]));
    if (got <= 0) return;
    const size_t count = static_cast<size_t>(got) / sizeof entries[0];
    for (size_t i = 0; i < count; i++)
      if (entries[i] & kPagePresent)
        append(runs, at + i * kPage,
               !(entries[i] & kPageOfFileOrShared) && entries[i] & kPageExclusive);
    at += count * kPage;
  }
}

}  // namespace

std::vector<PageRun> present_pages() {
  std::vector<PageRun> runs;
  Result<std::string> maps = read_file("/proc/self/maps", 64u << 20);
  const Fd pagemap(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (!maps || !pagemap) return runs;
  for (const char* line = maps->c_str(); *line;) {
    char* at = nullptr;
    const uintptr_t begin = strtoull(line, &at, 16);
    const uintptr_t end = strtoull(at + 1, &at, 16);
    const char* line_end = std::strchr(line, '\n');
    if (!line_end) break;
    const std::string_view text(line, static_cast<size_t>(line_end - line));
    const bool special = text.find("[stack]") != text.npos || text.find("[v") != text.npos;
    if (at[4] == 'p' && at[1] == 'r' && !special) scan(pagemap.get(), begin, end, runs);
    line = line_end + 1;
  }
  return runs;
}

void populate(const std::vector<PageRun>& runs) {
  for (const PageRun& run : runs) {
    const auto advise = [](uintptr_t begin, uintptr_t end, int advice) {
      madvise(reinterpret_cast<void*>(begin), end - begin, advice);
    };
    if (run.written) {
      advise(run.begin, run.end, kPopulateWrite);
      continue;
    }
    for (uintptr_t at = run.begin; at < run.end; at = (at / kFaultAround + 1) * kFaultAround)
      advise(at, at + kPage, kPopulateRead);
  }
}

}  // namespace brood
