// Authenticator: who is at the door. Users and tokens (docs/users.md), cookies, and the delays
// after failures. Knows no sockets; the doors ask it. Server process, its one thread.
// FileAuthenticator (file_authenticator.h) is the one there is.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace brood {

struct Identity {
  std::string user;
  bool admin = false;
  // What it was let in by: "password", "serving" (the server's own token), the id of a token, or
  // empty (its socket). A cookie made from it lives no longer than that.
  std::string grant = {};
};

inline constexpr int64_t kCookieSeconds = 7 * 24 * 3600;

// One SCRAM-SHA-256 exchange, the server's side (RFC 5802, RFC 7677). Give it the client's two
// messages in turn. Must not outlive its Authenticator.
class ScramExchange {
 public:
  virtual ~ScramExchange() = default;
  struct Step {
    std::string data;                  // to the client
    std::optional<Identity> identity;  // set: the client is who it says; data is the server's proof
  };
  // An Error: wrong, malformed or out of turn, and the end of the exchange; all have the text
  // "authentication failed". An unknown user gets a salt, too (derived from a secret), and fails at
  // the end. Any token is the password of the user `token`.
  virtual Result<Step> step(std::string_view client_message) = 0;
};

// When an address (or "unix") may be answered after a failure, and when it is refused outright.
struct Throttle {
  int64_t delay_ns = 0;  // hold the failure's answer back for so long
  bool refused = false;  // too many failures lately: do not even look at what it sends
};

class Authenticator {
 public:
  virtual ~Authenticator() = default;
  virtual std::unique_ptr<ScramExchange> scram() = 0;
  // A bearer token: that of `brood serve` (BROOD_TOKEN or made at its start; an admin's), or one of
  // `brood token`. Constant time in the token's bytes. Nothing: unknown, expired, revoked, or its
  // user was removed.
  virtual std::optional<Identity> check_token(std::string_view token) = 0;
  // HTTP's login page. Takes some milliseconds (PBKDF2, thousands of rounds); the throttle bounds
  // how often. A token is the password of the user `token` here, too.
  virtual std::optional<Identity> check_password(std::string_view user,
                                                 std::string_view password) = 0;
  // HTTP's cookie: an opaque random value that stands for an identity for kCookieSeconds, or until
  // its user is removed or gets another password, or the token it was made from is revoked. The
  // role is what it is when the cookie is checked.
  virtual std::string make_cookie(const Identity& identity) = 0;
  virtual std::optional<Identity> check_cookie(std::string_view cookie) = 0;
  virtual void drop_cookie(std::string_view cookie) = 0;

  // Failures are counted by address ("unix" for all Unix sockets). Ask right before anything that a
  // client sent is looked at, and again before each further step of an exchange: then clients that
  // try in parallel are bounded, too.
  virtual Throttle before_attempt(const std::string& address) = 0;
  virtual Throttle failed(const std::string& address) = 0;
  virtual void succeeded(const std::string& address) = 0;

  // Reads the users' and tokens' files again (SIGHUP); each attempt does so by itself when they
  // changed. An Error names the file and what is wrong with it: what was read before stays.
  virtual Result<void> reload() = 0;
};

}  // namespace brood
