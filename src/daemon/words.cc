#include "daemon/words.h"

#include <algorithm>
#include <charconv>
#include <vector>

#include "base/clock.h"

namespace brood {
namespace {

constexpr size_t kLongestTyped = 64;                     // a longer word is no slip of the fingers
constexpr int64_t kLongest = int64_t{10} * 366 * 86400;  // seconds

std::optional<int64_t> seconds_in(char unit) {
  switch (unit) {
    case 's': return 1;
    case 'm': return 60;
    case 'h': return 3600;
    case 'd': return 86400;
    default: return std::nullopt;
  }
}

// How many letters were missed, added, replaced, or exchanged with their neighbour.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> edits(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); i++)
    edits[i][0] = i;
  for (size_t j = 0; j <= b.size(); j++)
    edits[0][j] = j;
  for (size_t i = 1; i <= a.size(); i++) {
    for (size_t j = 1; j <= b.size(); j++) {
      const size_t replaced = edits[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      edits[i][j] = std::min({replaced, edits[i - 1][j] + 1, edits[i][j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        edits[i][j] = std::min(edits[i][j], edits[i - 2][j - 2] + 1);
    }
  }
  return edits[a.size()][b.size()];
}

bool starts_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

}  // namespace

std::optional<int64_t> parse_duration(std::string_view text) {
  if (text == "0") return 0;
  if (text.size() < 2) return std::nullopt;
  const std::optional<int64_t> unit = seconds_in(text.back());
  int64_t count = 0;
  const char* end = text.data() + text.size() - 1;
  const auto [stop, error] = std::from_chars(text.data(), end, count);
  if (!unit || error != std::errc() || stop != end || count < 0) return std::nullopt;
  if (count > kLongest / *unit) return std::nullopt;
  return count * *unit * kSecond;
}

std::optional<uint64_t> parse_size(std::string_view text) {
  uint64_t count = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc()) return std::nullopt;
  const std::string_view unit = text.substr(static_cast<size_t>(stop - text.data()));
  for (const auto& [name, shift] : {std::pair{"", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}})
    if (unit == name && count <= uint64_t{1} << (60 - shift)) return count << shift;
  return std::nullopt;
}

std::string show_duration(int64_t nanoseconds) {
  const int64_t seconds = std::max<int64_t>(nanoseconds, 0) / kSecond;
  if (seconds < 60) return std::to_string(seconds) + "s";
  if (seconds < 3600) return std::to_string(seconds / 60) + "m";
  if (seconds >= 2 * 86400) return std::to_string(seconds / 86400) + "d";
  const int64_t minutes = seconds / 60 % 60;
  return std::to_string(seconds / 3600) + "h" + (minutes < 10 ? "0" : "") +
         std::to_string(minutes) + "m";
}

std::string closest(std::string_view typed, std::span<const std::string> candidates) {
  std::string best;
  if (typed.size() > kLongestTyped) return best;
  size_t least = std::max<size_t>(typed.size() / 3, 1) + 1;
  for (const std::string& candidate : candidates) {
    if (candidate.size() > 2 * kLongestTyped) continue;
    const size_t edits = distance(typed, candidate);
    if (edits < least && edits < typed.size()) {
      least = edits;
      best = candidate;
    }
  }
  return best;
}

std::string did_you_mean(std::string_view typed, std::span<const std::string> candidates) {
  const std::string best = closest(typed, candidates);
  return best.empty() ? "" : ", did you mean \"" + best + "\"?";
}

std::string join(std::span<const std::string> words, std::string_view between) {
  std::string out;
  for (const std::string& word : words) {
    if (!out.empty()) out += between;
    out += word;
  }
  return out;
}

bool is_module_name(std::string_view text) {
  bool at_start = true;
  for (const char c : text) {
    if (at_start ? !starts_name(c) : !(starts_name(c) || (c >= '0' && c <= '9') || c == '.'))
      return false;
    at_start = c == '.';
  }
  return !at_start;
}

bool is_variable_name(std::string_view text) {
  return !text.empty() && text.find('=') == text.npos && text.find('\0') == text.npos;
}

}  // namespace brood
