// The files that say who may come in: users.json and tokens.json of one folder (docs/users.md has
// their format). No password and no token is in them, only what checks one. The parsers are pure.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "scram/scram.h"

namespace brood {

inline constexpr size_t kSaltBytes = 16;
inline constexpr int kPasswordIterations = 8192;  // about 7 ms; the same for everyone
inline constexpr size_t kMaxUsers = 10'000;
inline constexpr size_t kMaxTokens = 1000;  // each is tried when a client logs in as `token`
inline constexpr size_t kMaxTokenName = 200;

// Reserved: the password of the user `token` is a token; `owner` stands for who runs the server.
inline constexpr char kTokenUser[] = "token";
inline constexpr char kOwnerUser[] = "owner";

struct UserRecord {
  bool admin = false;
  ScramKeys keys;
  int64_t created = 0;  // seconds since the epoch
};

struct UserFile {
  std::string secret;  // makes salts for users that do not exist; empty: there is no file yet
  std::map<std::string, UserRecord, std::less<>> users;
};

struct TokenRecord {
  std::string id;    // 8 hexadecimal digits
  std::string hash;  // SHA-256 of the token, raw; it has 256 random bits, so that needs no salt
  ScramKeys keys;    // the same salt and rounds as all others of its file
  std::string user;  // kOwnerUser: the server's owner
  std::string name;  // what it is for; may be empty
  int64_t created = 0;
  int64_t expires = 0;  // 0: never
};

struct TokenFile {
  std::string salt;  // of all its tokens; empty: there is no file yet
  int iterations = kPasswordIterations;
  std::vector<TokenRecord> tokens;
};

// 1 to 64 ASCII letters, digits, '.', '_' and '-', the first one a letter or a digit; not reserved.
Result<void> check_user_name(std::string_view name);

// Errors begin with `path` and say what is wrong where.
Result<UserFile> parse_users(std::string_view text, const std::string& path);
Result<TokenFile> parse_tokens(std::string_view text, const std::string& path);
std::string format_users(const UserFile& file);
std::string format_tokens(const TokenFile& file);

// $XDG_CONFIG_HOME/brood, else ~/.config/brood.
Result<std::string> default_door_folder();

inline std::string users_path(const std::string& folder) { return folder + "/users.json"; }
inline std::string tokens_path(const std::string& folder) { return folder + "/tokens.json"; }

// A file that does not exist is an empty one; one that others may read or write is an Error.
Result<UserFile> read_users(const std::string& folder);
Result<TokenFile> read_tokens(const std::string& folder);

// Both files, to be changed: no other process changes them while this object lives.
class LockedDoorFiles {
 public:
  // Makes the folder if need be, waits for the lock, reads both files.
  static Result<LockedDoorFiles> open(const std::string& folder);

  UserFile users;
  TokenFile tokens;
  // Readers see the old file or the new one.
  Result<void> save_users();
  Result<void> save_tokens();

 private:
  LockedDoorFiles(std::string folder, Fd lock)
      : folder_(std::move(folder)), lock_(std::move(lock)) {}
  std::string folder_;
  Fd lock_;
};

}  // namespace brood
