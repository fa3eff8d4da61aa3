// CookieJar: the cookies that are valid, and whom each stands for. Keeps hashes, not the cookies.
// Passive: the time is given. Any process, one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "auth/auth.h"

namespace brood {

class CookieJar {
 public:
  static constexpr size_t kMaxPerUser = 1000;  // beyond, the user's oldest one is dropped

  // 43 characters of base64url, 256 random bits. Times: nanoseconds of any clock that does not go
  // back.
  std::string make(const Identity& identity, int64_t now);
  // Whom it was made for; nothing: unknown or too old.
  std::optional<Identity> check(std::string_view cookie, int64_t now) const;
  void drop(std::string_view cookie);
  void drop_if(const std::function<bool(const Identity&)>& condition);

  size_t size() const { return cookies_.size(); }

 private:
  struct Entry {
    Identity identity;
    int64_t expires = 0;
  };
  void drop_old(std::deque<std::string>& hashes, int64_t now);

  std::unordered_map<std::string, Entry> cookies_;                    // by hash
  std::unordered_map<std::string, std::deque<std::string>> by_user_;  // hashes, oldest first
};

}  // namespace brood
