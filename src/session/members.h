// Members: reads a request's members, strictly: one that is not known or has another type is a
// Problem that names it. Pure.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "session/api.h"

namespace brood {

inline constexpr size_t kMaxName = 200;  // bytes of a session's name

class Members {
 public:
  // `known`: besides "session".
  Members(const nlohmann::json& head, std::initializer_list<std::string_view> known);

  bool has(const char* name) const { return head_.contains(name) && !head_[name].is_null(); }
  std::string text(const char* name, std::string otherwise = "");
  std::string needed_text(const char* name);
  std::string name(const char* name);  // of a session: at most 200 bytes, no control characters
  uint64_t number(const char* name, uint64_t otherwise = 0);  // 0, 1, 2, ...
  double seconds(const char* name, double otherwise = 0);     // from 0 on
  bool flag(const char* name, bool otherwise = false);

  // The first thing that was wrong.
  const std::optional<Problem>& problem() const { return problem_; }

 private:
  void wrong(const char* name, const char* expected);

  const nlohmann::json& head_;
  std::optional<Problem> problem_;
};

}  // namespace brood
