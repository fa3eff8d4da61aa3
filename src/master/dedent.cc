#include "master/dedent.h"

#include <algorithm>
#include <optional>

namespace brood::master {
namespace {

constexpr std::string_view kBlanks = " \t";

template <typename Use>
void for_each_line(std::string_view source, Use use) {
  while (!source.empty()) {
    const size_t size = std::min(source.find('\n'), source.size() - 1) + 1;  // with its end
    use(source.substr(0, size));
    source.remove_prefix(size);
  }
}

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r\n") == line.npos; }

}  // namespace

std::string dedent(std::string_view source) {
  std::optional<std::string_view> margin;
  for_each_line(source, [&](std::string_view line) {
    if (is_blank(line)) return;
    const std::string_view indent = line.substr(0, line.find_first_not_of(kBlanks));
    if (!margin) margin = indent;
    const auto differ =
        std::mismatch(margin->begin(), margin->end(), indent.begin(), indent.end()).first;
    margin = margin->substr(0, static_cast<size_t>(differ - margin->begin()));
  });
  std::string result;
  for_each_line(source, [&](std::string_view line) {
    result += is_blank(line)
                  ? line.substr(line.find('\n') == line.npos ? line.size() : line.size() - 1)
                  : line.substr(margin->size());
  });
  return result;
}

}  // namespace brood::master
