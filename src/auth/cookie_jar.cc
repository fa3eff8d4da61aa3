#include "auth/cookie_jar.h"

#include "scram/crypto.h"

namespace brood {
namespace {

constexpr size_t kCookieBytes = 32;
constexpr size_t kCookieLength = 43;
constexpr int64_t kLifetimeNs = kCookieSeconds * 1'000'000'000;

}  // namespace

std::string CookieJar::make(const Identity& identity, int64_t now) {
  std::string cookie = to_base64url(random_bytes(kCookieBytes));
  const std::string hash = sha256(cookie);
  std::deque<std::string>& hashes = by_user_[identity.user];
  drop_old(hashes, now);
  hashes.push_back(hash);
  cookies_.emplace(hash, Entry{identity, now + kLifetimeNs});
  return cookie;
}

// Makes room for one more.
void CookieJar::drop_old(std::deque<std::string>& hashes, int64_t now) {
  while (!hashes.empty() &&
         (hashes.size() >= kMaxPerUser || cookies_.at(hashes.front()).expires <= now)) {
    cookies_.erase(hashes.front());
    hashes.pop_front();
  }
}

std::optional<Identity> CookieJar::check(std::string_view cookie, int64_t now) const {
  if (cookie.size() != kCookieLength) return std::nullopt;
  const auto found = cookies_.find(sha256(cookie));
  if (found == cookies_.end() || found->second.expires <= now) return std::nullopt;
  return found->second.identity;
}

void CookieJar::drop(std::string_view cookie) {
  const auto found = cookies_.find(sha256(cookie));
  if (found == cookies_.end()) return;
  const auto user = by_user_.find(found->second.identity.user);
  std::erase(user->second, found->first);
  if (user->second.empty()) by_user_.erase(user);
  cookies_.erase(found);
}

void CookieJar::drop_if(const std::function<bool(const Identity&)>& condition) {
  for (auto user = by_user_.begin(); user != by_user_.end();) {
    std::erase_if(user->second, [&](const std::string& hash) {
      return condition(cookies_.at(hash).identity) && cookies_.erase(hash) == 1;
    });
    user = user->second.empty() ? by_user_.erase(user) : std::next(user);
  }
}

}  // namespace brood
