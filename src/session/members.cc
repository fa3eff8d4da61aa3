#include "session/members.h"

#include <algorithm>
#include <cmath>

namespace brood {
namespace {

// C0, DEL and C1 (U+0080 to U+009F): terminals obey them. `text` is UTF-8.
bool has_controls(std::string_view text) {
  for (size_t i = 0; i < text.size(); i++) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x20 || byte == 0x7f) return true;
    if (byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0)
      return true;
  }
  return false;
}

}  // namespace

Members::Members(const nlohmann::json& head, std::initializer_list<std::string_view> known)
    : head_(head) {
  for (auto& [name, value] : head.items()) {
    if (name == "session" || std::find(known.begin(), known.end(), name) != known.end()) continue;
    std::string names;
    for (const std::string_view one : known)
      names += (names.empty() ? "" : ", ") + std::string(one);
    problem_ = Problem{ProblemCode::kBadRequest,
                       "unknown member " + name +
                           (names.empty() ? ", expected none" : ", expected one of " + names)};
    return;
  }
}

void Members::wrong(const char* name, const char* expected) {
  if (problem_) return;
  std::string found = head_.contains(name) ? head_[name].type_name() : "missing";
  if (has(name) && head_[name].is_number()) found = head_[name].dump();  // the value is wrong
  problem_ = Problem{ProblemCode::kBadRequest,
                     std::string(name) + " is " + found + ", expected " + expected};
}

std::string Members::text(const char* name, std::string otherwise) {
  if (!has(name)) return otherwise;
  if (head_[name].is_string()) return head_[name].get<std::string>();
  wrong(name, "a text");
  return otherwise;
}

std::string Members::needed_text(const char* name) {
  if (!has(name)) wrong(name, "a text");
  return text(name);
}

std::string Members::name(const char* name) {
  std::string given = text(name);
  const char* wrong = given.size() > kMaxName ? "a name has at most 200 bytes"
                      : has_controls(given)
                          ? "a name has no control characters, such as escapes and line ends"
                          : nullptr;
  if (wrong && !problem_) problem_ = Problem{ProblemCode::kBadRequest, wrong};
  return given;
}

uint64_t Members::number(const char* name, uint64_t otherwise) {
  if (!has(name)) return otherwise;
  const nlohmann::json& value = head_[name];
  if (value.is_number_unsigned() || (value.is_number_integer() && value.get<int64_t>() >= 0))
    return value.get<uint64_t>();
  wrong(name, "a whole number from 0 on");
  return otherwise;
}

double Members::seconds(const char* name, double otherwise) {
  if (!has(name)) return otherwise;
  if (head_[name].is_number()) {
    const double value = head_[name].get<double>();
    if (std::isfinite(value) && value >= 0) return value;
  }
  wrong(name, "a number of seconds from 0 on");
  return otherwise;
}

bool Members::flag(const char* name, bool otherwise) {
  if (!has(name)) return otherwise;
  if (head_[name].is_boolean()) return head_[name].get<bool>();
  wrong(name, "true or false");
  return otherwise;
}

}  // namespace brood
