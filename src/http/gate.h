// Gate: who asks, and whether this server was meant (docs/http.md, "Who asks"). Server process, its
// one thread.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>

#include "http/exchange.h"
#include "http/services.h"

namespace brood {

class Gate {
 public:
  explicit Gate(Services& services) : services_(services) {}

  // Nothing, or why the request is refused.
  std::optional<Response> check_host(const RequestHead& head) const;
  // Whether a page of this server asks.
  bool own_origin(const RequestHead& head) const;

  struct Verdict {
    std::optional<Identity> identity;
    bool by_cookie = false;
    Response refusal;                   // without an identity
    std::chrono::nanoseconds delay{0};  // how long the refusal is held back
  };
  // By the header Authorization, or else by the cookie.
  Verdict identify(const RequestHead& head);
  Verdict check_token(const RequestHead& head, const std::string& token);
  // `body`: what POST /v1/login was sent.
  Verdict check_login(const RequestHead& head, const nlohmann::json& body);
  // Asks again for a connection that lasts; counts nothing.
  bool still_valid(const RequestHead& head) const;

  std::string make_cookie(const RequestHead& head, const Identity& identity);  // of Set-Cookie
  std::string drop_cookie(const RequestHead& head);

 private:
  template <typename Check>
  Verdict attempt(const RequestHead& head, Check check);

  Services& services_;
};

}  // namespace brood
