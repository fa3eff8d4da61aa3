// Changes to the users and tokens of a folder, each as a whole and under its lock. What `brood
// user` and `brood token` do; a running server sees it at the next attempt. Times are seconds since
// the epoch.
#pragma once

#include <cstdint>
#include <string>

#include "auth/door_files.h"

namespace brood {

Result<void> add_user(const std::string& folder, const std::string& name,
                      const std::string& password, bool admin, int64_t now);
// With its tokens. How many those were.
Result<size_t> remove_user(const std::string& folder, const std::string& name);
Result<void> set_password(const std::string& folder, const std::string& name,
                          const std::string& password);

// A new secret for bearers: "brood_" and 43 characters of base64url, 256 random bits.
std::string random_token();

struct NewToken {
  std::string token;  // is kept nowhere else
  TokenRecord record;
};
// For a user of the folder or kOwnerUser. `expires` 0: never. Tokens that have expired are dropped
// from the file.
Result<NewToken> add_token(const std::string& folder, const std::string& user,
                           const std::string& name, int64_t expires, int64_t now);
Result<TokenRecord> revoke_token(const std::string& folder, const std::string& id);

}  // namespace brood
