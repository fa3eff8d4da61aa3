#include "auth/accounts.h"

#include <algorithm>

#include "scram/crypto.h"

namespace brood {
namespace {

constexpr size_t kTokenBytes = 32;
constexpr size_t kIdBytes = 4;

Error no_user(const std::string& name) {
  return Error{"there is no user " + name + "; see brood user list"};
}

Result<ScramKeys> keys_for(const std::string& password) {
  if (Result<void> good = check_scram_text(password, "the password"); !good) return good.error();
  return derive_scram_keys(password, random_bytes(kSaltBytes), kPasswordIterations);
}

std::string new_id(const TokenFile& file) {
  for (;;) {
    std::string id = to_hex(random_bytes(kIdBytes));
    const auto same = [&](const TokenRecord& token) { return token.id == id; };
    if (std::none_of(file.tokens.begin(), file.tokens.end(), same)) return id;
  }
}

}  // namespace

Result<void> add_user(const std::string& folder, const std::string& name,
                      const std::string& password, bool admin, int64_t now) {
  if (Result<void> good = check_user_name(name); !good) return good;
  Result<ScramKeys> keys = keys_for(password);
  if (!keys) return keys.error();
  Result<LockedDoorFiles> files = LockedDoorFiles::open(folder);
  if (!files) return files.error();
  if (files->users.users.size() >= kMaxUsers)
    return Error{"there are " + std::to_string(kMaxUsers) + " users already"};
  if (!files->users.users.emplace(name, UserRecord{admin, std::move(*keys), now}).second)
    return Error{"there is a user " + name + " already; brood user passwd gives a new password"};
  if (files->users.secret.empty()) files->users.secret = random_bytes(kSha256Bytes);
  return files->save_users();
}

Result<size_t> remove_user(const std::string& folder, const std::string& name) {
  Result<LockedDoorFiles> files = LockedDoorFiles::open(folder);
  if (!files) return files.error();
  if (files->users.users.erase(name) == 0) return no_user(name);
  const size_t removed = std::erase_if(
      files->tokens.tokens, [&](const TokenRecord& token) { return token.user == name; });
  // The tokens first: a user of the same name that is added later must not get them.
  if (removed > 0)
    if (Result<void> saved = files->save_tokens(); !saved) return saved.error();
  if (Result<void> saved = files->save_users(); !saved) return saved.error();
  return removed;
}

Result<void> set_password(const std::string& folder, const std::string& name,
                          const std::string& password) {
  Result<ScramKeys> keys = keys_for(password);
  if (!keys) return keys.error();
  Result<LockedDoorFiles> files = LockedDoorFiles::open(folder);
  if (!files) return files.error();
  const auto found = files->users.users.find(name);
  if (found == files->users.users.end()) return no_user(name);
  found->second.keys = std::move(*keys);
  return files->save_users();
}

std::string random_token() { return "brood_" + to_base64url(random_bytes(kTokenBytes)); }

Result<NewToken> add_token(const std::string& folder, const std::string& user,
                           const std::string& name, int64_t expires, int64_t now) {
  if (!name.empty()) {
    if (Result<void> good = check_scram_text(name, "the token's name"); !good) return good.error();
    if (name.size() > kMaxTokenName)
      return Error{"the token's name is longer than " + std::to_string(kMaxTokenName) + " bytes"};
  }
  Result<LockedDoorFiles> files = LockedDoorFiles::open(folder);
  if (!files) return files.error();
  if (user != kOwnerUser && !files->users.users.contains(user)) return no_user(user);
  TokenFile& file = files->tokens;
  std::erase_if(file.tokens,
                [&](const TokenRecord& old) { return old.expires != 0 && old.expires <= now; });
  if (file.tokens.size() >= kMaxTokens)
    return Error{"there are " + std::to_string(kMaxTokens) +
                 " tokens already; brood token revoke removes one"};
  if (file.salt.empty()) file.salt = random_bytes(kSaltBytes);
  const std::string token = random_token();
  TokenRecord record{
      new_id(file), sha256(token), derive_scram_keys(token, file.salt, file.iterations), user, name,
      now,          expires};
  file.tokens.push_back(record);
  if (Result<void> saved = files->save_tokens(); !saved) return saved.error();
  return NewToken{token, std::move(record)};
}

Result<TokenRecord> revoke_token(const std::string& folder, const std::string& id) {
  Result<LockedDoorFiles> files = LockedDoorFiles::open(folder);
  if (!files) return files.error();
  std::vector<TokenRecord>& tokens = files->tokens.tokens;
  const auto found = std::find_if(tokens.begin(), tokens.end(),
                                  [&](const TokenRecord& token) { return token.id == id; });
  if (found == tokens.end())
    return Error{"there is no token with the id " + id + "; see brood token list"};
  TokenRecord revoked = std::move(*found);
  tokens.erase(found);
  if (Result<void> saved = files->save_tokens(); !saved) return saved.error();
  return revoked;
}

}  // namespace brood
