// FileAuthenticator: the Authenticator of `brood serve`. Users and tokens are those of a folder
// (door_files.h), read again when a file changed; one more token is the server's own. Server
// process, its one thread.
#pragma once

#include <time.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "auth/auth.h"
#include "auth/cookie_jar.h"
#include "auth/door_files.h"
#include "auth/throttle_table.h"
#include "base/clock.h"
#include "base/result.h"
#include "base/sys.h"

namespace brood {

struct DoorOptions {
  std::string folder;          // need not exist: then there are no users
  std::string serving_token;   // stands for an admin of the owner's name; empty: there is none
  std::string owner;           // the name of whoever runs the server
  bool token_is_made = false;  // nobody has asked for the serving token
  // Tests have their own.
  std::function<int64_t()> monotonic = monotonic_ns;
  std::function<int64_t()> seconds = [] { return static_cast<int64_t>(time(nullptr)); };
};

class FileAuthenticator final : public Authenticator {
 public:
  // Fails when a file is broken or open to others, or the serving token is no text that a client
  // could send. Derives the token's keys, which takes milliseconds.
  static Result<std::unique_ptr<FileAuthenticator>> open(DoorOptions options);

  FileAuthenticator(const FileAuthenticator&) = delete;
  FileAuthenticator& operator=(const FileAuthenticator&) = delete;

  std::unique_ptr<ScramExchange> scram() override;
  std::optional<Identity> check_token(std::string_view token) override;
  std::optional<Identity> check_password(std::string_view user, std::string_view password) override;
  std::string make_cookie(const Identity& identity) override;
  std::optional<Identity> check_cookie(std::string_view cookie) override;
  void drop_cookie(std::string_view cookie) override;
  Throttle before_attempt(const std::string& address) override;
  Throttle failed(const std::string& address) override;
  void succeeded(const std::string& address) override;
  Result<void> reload() override;

  // Whether somebody was given a token: the serving one, if it was not made up, or one of `brood
  // token` that is good.
  bool has_tokens();

  // For an exchange: the salt and the rounds that `user` is asked to use, whether there is such a
  // user or not.
  ScramKeys challenge(const std::string& user);
  struct Proven {
    Identity identity;
    ScramKeys keys;  // those that the proof was made with
  };
  std::optional<Proven> prove(const std::string& user, std::string_view auth_message,
                              std::string_view proof);

 private:
  explicit FileAuthenticator(DoorOptions options);
  void refresh();
  Result<void> reload_users();
  Result<void> reload_tokens();
  void derive_serving_keys();
  void drop_cookies_of_changed(const UserFile& old);
  Identity serving_identity() const;
  std::optional<Identity> identity_of(const TokenRecord& token) const;
  std::optional<Identity> identity_of(std::string_view user) const;
  std::optional<Proven> prove_token(std::string_view auth_message, std::string_view proof) const;

  DoorOptions options_;
  std::string secret_;        // for salts while there is no file
  std::string serving_hash_;  // empty: there is no such token
  ScramKeys serving_keys_;    // its salt is that of all tokens
  UserFile users_;
  TokenFile tokens_;
  FileIdentity users_file_;  // as last looked at, good or not
  FileIdentity tokens_file_;
  CookieJar cookies_;
  ThrottleTable throttle_;
};

}  // namespace brood
