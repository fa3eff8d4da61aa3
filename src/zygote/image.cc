#include "zygote/image.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "base/sys.h"

namespace brood {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kMaxMaps = 64u << 20;  // bytes of /proc/self/smaps: some 80,000 mappings
constexpr size_t kMaxRegions = 64u << 10;

struct Region {
  uintptr_t begin;
  uintptr_t end;
  int protection;
};

// Everything make_image() writes while it works lives here, outside of what it replaces: a shared
// mapping.
struct Scratch {
  char maps[kMaxMaps];
  Region regions[kMaxRegions];
};

bool read_maps(char* text) {
  Fd fd(open("/proc/self/smaps", O_RDONLY | O_CLOEXEC));
  if (!fd) return false;
  size_t length = 0;
  for (;;) {
    const ssize_t got = read(fd.get(), text + length, kMaxMaps - 1 - length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 || length + static_cast<size_t>(got) >= kMaxMaps - 1) return false;
    if (got == 0) break;
    length += static_cast<size_t>(got);
  }
  text[length] = 0;
  return true;
}

// The first line of an entry: begin-end perms offset dev inode path. Candidates are private regions
// that are no code; everything with a special name ([stack], [vvar], ...) stays as it is.
bool parse_region(const char* line, Region& region) {
  char* at = nullptr;
  region.begin = strtoull(line, &at, 16);
  region.end = strtoull(at + 1, &at, 16);
  const char* permissions = at + 1;
  if (permissions[0] != 'r' || permissions[2] == 'x' || permissions[3] != 'p') return false;
  region.protection = PROT_READ | (permissions[1] == 'w' ? PROT_WRITE : 0);
  const char* path = permissions;
  for (int field = 0; field < 4 && path; field++)
    path = std::strchr(path + 1, ' ');
  if (!path) return false;
  while (*path == ' ')
    path++;
  const bool special =
      path[0] == '[' && std::strncmp(path, "[heap]", 6) != 0 && std::strncmp(path, "[anon", 5) != 0;
  return !special && !std::strstr(path, "/dev/");
}

// Some regions have a meaning that a copy would lose: wf is wiped in a child (random number
// generators keep their state there), dc is not in a child at all, dp may be dropped, lo is locked,
// io is a device (proc(5), VmFlags).
bool has_flag_to_keep(const char* flags) {
  for (const char* flag : {" wf", " dc", " dp", " lo", " io"})
    if (std::strstr(flags, flag)) return true;
  return false;
}

// Writable regions, and what the loader relocated and then protected against writing: read-only
// ones with pages of their own.
size_t find_regions(Scratch& scratch) {
  size_t count = 0;
  bool candidate = false;
  for (char* line = scratch.maps; *line && count < kMaxRegions;) {
    char* end = std::strchr(line, '\n');
    if (!end) break;
    *end = 0;
    Region& region = scratch.regions[count];
    if (std::strncmp(line, "VmFlags:", 8) == 0) {  // the last line of an entry
      if (candidate && !has_flag_to_keep(line)) count++;
      candidate = false;
    } else if (std::strncmp(line, "Anonymous:", 10) == 0) {
      const bool own_pages = strtoull(line + 10, nullptr, 10) > 0;
      candidate = candidate && (own_pages || region.protection & PROT_WRITE);
    } else if ((line[0] >= '0' && line[0] <= '9') || (line[0] >= 'a' && line[0] <= 'f')) {
      candidate = parse_region(line, region);
    }
    line = end + 1;
  }
  return count;
}

bool all_zero(const uint64_t* words) {
  for (size_t i = 0; i < kPage / sizeof(uint64_t); i++)
    if (words[i]) return false;
  return true;
}

// Pages without content stay holes in the file.
bool copy_region(int image, const Region& region, off_t offset) {
  const size_t bytes = region.end - region.begin;
  for (size_t at = 0; at < bytes;) {
    const auto page = [&](size_t o) { return reinterpret_cast<const uint64_t*>(region.begin + o); };
    if (all_zero(page(at))) {
      at += kPage;
      continue;
    }
    size_t stop = at + kPage;
    while (stop < bytes && stop - at < (1u << 20) && !all_zero(page(stop)))
      stop += kPage;
    while (at < stop) {
      const ssize_t put = pwrite(image, page(at), stop - at, offset + static_cast<off_t>(at));
      if (put <= 0) return false;
      at += static_cast<size_t>(put);
    }
  }
  return ftruncate(image, offset + static_cast<off_t>(bytes)) == 0;
}

}  // namespace

Result<ImageReport> make_image() {
  void* memory = mmap(nullptr, sizeof(Scratch), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return sys_error("map memory");
  auto& scratch = *static_cast<Scratch*>(memory);
  const int image = memfd_create("brood-image", MFD_CLOEXEC);
  ImageReport report;
  bool good = image >= 0 && read_maps(scratch.maps);
  const size_t count = good ? find_regions(scratch) : 0;
  off_t offset = 0;
  for (size_t i = 0; i < count && good; i++) {
    const Region& region = scratch.regions[i];
    const size_t bytes = region.end - region.begin;
    // Nothing may write to the region between these two calls; there is one thread, and its stack
    // is no region.
    good = copy_region(image, region, offset) &&
           mmap(reinterpret_cast<void*>(region.begin), bytes, region.protection,
                MAP_PRIVATE | MAP_FIXED, image, offset) != MAP_FAILED;
    if (!good) break;
    offset += static_cast<off_t>(bytes);
    report.regions++;
    report.bytes += bytes;
  }
  const Error error = sys_error("make the image");
  if (image >= 0) close(image);
  munmap(memory, sizeof(Scratch));
  if (!good && report.regions == 0) return error;
  return report;
}

}  // namespace brood
