#include "daemon/memory.h"

#include <charconv>
#include <string>
#include <string_view>

#include "base/sys.h"

namespace brood {
namespace {

constexpr size_t kMaxProcFile = 1u << 20;  // bytes

// "Pss:      1234 kB" in bytes; 0 when there is no such line.
uint64_t value_of(std::string_view text, std::string_view name) {
  size_t at = text.find(name);
  if (at == text.npos) return 0;
  at = text.find_first_not_of(" \t", at + name.size());
  if (at == text.npos) return 0;
  uint64_t kilobytes = 0;
  std::from_chars(text.data() + at, text.data() + text.size(), kilobytes);
  return kilobytes * 1024;
}

}  // namespace

std::optional<MemoryUse> memory_of(pid_t pid) {
  Result<std::string> text =
      read_file("/proc/" + std::to_string(pid) + "/smaps_rollup", kMaxProcFile);
  if (!text) return std::nullopt;
  const std::string_view view = *text;
  return MemoryUse{value_of(view, "\nPss:"),
                   value_of(view, "\nPrivate_Clean:") + value_of(view, "\nPrivate_Dirty:")};
}

std::vector<pid_t> children_of(pid_t pid) {
  const std::string id = std::to_string(pid);
  Result<std::string> text = read_file("/proc/" + id + "/task/" + id + "/children", kMaxProcFile);
  std::vector<pid_t> out;
  if (!text) return out;
  const char* at = text->data();
  const char* end = at + text->size();
  while (at < end) {
    pid_t child = 0;
    const auto [next, error] = std::from_chars(at, end, child);
    if (error == std::errc()) out.push_back(child);
    at = error == std::errc() ? next : at + 1;
  }
  return out;
}

}  // namespace brood
