#include "worker/spoken_by_hand.h"

#include <algorithm>

namespace brood {
namespace {

constexpr size_t kMostText = 2000;

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char character : text.substr(0, kMostText)) {
    if (character == '\n')
      out += "\\n";
    else if (character < ' ' || character > '~')
      out += '?';
    else if (character == '"' || character == '\\')
      out += {'\\', character};
    else
      out += character;
  }
  return out + '"';
}

}  // namespace

// Within a string of JSON the quotes of such a name would be escaped.
std::string number_by_hand(std::string_view head, std::string_view name) {
  const std::string key = '"' + std::string(name) + "\":";
  const size_t at = head.find(key);
  if (at == head.npos) return {};
  const std::string_view rest = head.substr(at + key.size());
  const auto end =
      std::find_if(rest.begin(), rest.end(), [](char c) { return c < '0' || c > '9'; });
  return std::string(rest.begin(), end);
}

std::string error_by_hand(std::string_view text) {
  return R"({"type":"error","name":"RuntimeError","value":)" + quoted(text) + R"(,"traceback":[)" +
         quoted("RuntimeError: " + std::string(text.substr(0, kMostText)) + "\n") + "]}";
}

std::string no_answer_by_hand(std::string_view head) {
  const std::string ask = number_by_hand(head, "ask"), cursor = number_by_hand(head, "cursor");
  const std::string at = cursor.empty() ? "0" : cursor;
  return R"({"ask":)" + (ask.empty() ? "0" : ask) + R"(,"found":false,"data":{},"signature":"",)" +
         R"("matches":[],"start":)" + at + R"(,"end":)" + at + "}";
}

}  // namespace brood
