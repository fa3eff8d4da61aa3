#include "worker/huge_pages.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/sys.h"
#include "worker/page_map.h"

namespace brood {
namespace {

constexpr int kCollapse = 25;       // MADV_COLLAPSE, which glibc 2.36 does not name
constexpr size_t kHuge = 2u << 20;  // bytes
constexpr size_t kPages = kHuge / kPage;
constexpr size_t kFewest = kPages * 7 / 8;  // present ones; fewer would make the process larger
constexpr size_t kWorthIt = 64u << 20;      // bytes: a fork of less is cheap anyway
constexpr size_t kGrowth = 16u << 20;       // bytes, before another walk
constexpr size_t kPlenty = 4;               // times as much memory is available
constexpr size_t kMaxMaps = 4u << 20;       // bytes of /proc/self/maps

struct Range {
  uintptr_t begin, end;
};

// Private anonymous memory that can be written: "begin-end rw-p 00000000 00:00 0", perhaps [heap].
std::vector<Range> anonymous_ranges() {
  std::vector<Range> ranges;
  Result<std::string> maps = read_file("/proc/self/maps", kMaxMaps);
  if (!maps) return ranges;
  for (size_t at = 0; at < maps->size();) {
    const size_t end = maps->find('\n', at);
    const std::string line = maps->substr(at, end - at);
    at = end == std::string::npos ? maps->size() : end + 1;
    unsigned long from = 0, to = 0, inode = 1;
    char mode[5] = "", name[8] = "";
    if (std::sscanf(line.c_str(), "%lx-%lx %4s %*x %*s %lu %7s", &from, &to, mode, &inode, name) <
        4)
      continue;
    const bool plain = name[0] == '\0' || std::string_view(name) == "[heap]";
    if (std::string_view(mode) == "rw-p" && inode == 0 && plain && to - from >= kHuge)
      ranges.push_back({from, to});
  }
  return ranges;
}

// Bytes that programs may still have.
size_t available_memory() {
  Result<std::string> text = read_file("/proc/meminfo", 16384);
  const size_t at = text ? text->find("MemAvailable:") : std::string::npos;
  if (at == std::string::npos) return 0;
  return strtoull(text->c_str() + at + sizeof "MemAvailable:", nullptr, 10) * 1024;
}

bool is_readable(int fd) {
  pollfd item{fd, POLLIN, 0};
  return poll(&item, 1, 0) != 0;
}

// Nearly all of it is there, and, unless `shared_too`, nobody else has any of it.
bool is_worth_it(int pagemap, uintptr_t begin, bool shared_too) {
  std::array<uint64_t, kPages> entries;
  const auto offset = static_cast<off_t>(begin / kPage * sizeof(uint64_t));
  if (pread(pagemap, entries.data(), sizeof entries, offset) != sizeof entries) return false;
  size_t present = 0;
  for (const uint64_t entry : entries) {
    if (!(entry & kPagePresent)) continue;
    if (entry & kPageOfFileOrShared || !(entry & kPageExclusive || shared_too)) return false;
    present++;
  }
  return present >= kFewest;
}

}  // namespace

void HugePages::collapse_while_idle(int wanted) {
  if (!supported_ || !worth_a_walk()) return;
  const Fd pagemap(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (!pagemap) return;
  const size_t now = walked_at_;
  for (const Range& range : anonymous_ranges())
    if (!collapse_in(range.begin, range.end, pagemap.get(), wanted)) {
      walked_at_ = 0;  // goes on next time
      return;
    }
  walked_at_ = now;
}

bool HugePages::worth_a_walk() {
  Result<std::string> statm = read_file("/proc/self/statm", 256);
  if (!statm) return false;
  char* end = nullptr;
  strtoull(statm->c_str(), &end, 10);
  const size_t resident = strtoull(end, &end, 10), shared = strtoull(end, &end, 10);
  const size_t own = (resident - shared) * kPage;
  if (own < kWorthIt || (walked_at_ != 0 && own < walked_at_ + kGrowth)) return false;
  walked_at_ = own;
  shared_too_ = own < available_memory() / kPlenty;
  return true;
}

bool HugePages::collapse_in(uintptr_t begin, uintptr_t end, int pagemap, int wanted) {
  for (uintptr_t at = (begin + kHuge - 1) & ~(kHuge - 1); at + kHuge <= end; at += kHuge) {
    if (is_readable(wanted)) return false;
    if (done_.contains(at) || !is_worth_it(pagemap, at, shared_too_)) continue;
    done_.insert(at);
    if (madvise(reinterpret_cast<void*>(at), kHuge, kCollapse) != 0 && errno == EINVAL) {
      supported_ = false;
      return true;
    }
  }
  return true;
}

}  // namespace brood
