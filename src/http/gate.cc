#include "http/gate.h"

#include <arpa/inet.h>
#include <strings.h>

#include <algorithm>
#include <array>

#include "http/responses.h"
#include "http/url.h"

namespace brood {
namespace {

constexpr std::string_view kBearer = "Bearer ";

Response unauthorized(const std::string& text) {
  Response out = problem_response(401, text);
  out.headers.emplace_back("WWW-Authenticate", "Bearer realm=\"brood\"");
  return out;
}

// An address in the one form that compares; empty if it is none.
std::string normal_address(const std::string& text) {
  std::array<unsigned char, sizeof(in6_addr)> bytes;
  std::array<char, INET6_ADDRSTRLEN> out;
  for (const int family : {AF_INET, AF_INET6})
    if (inet_pton(family, text.c_str(), bytes.data()) == 1)
      return inet_ntop(family, bytes.data(), out.data(), out.size());
  return {};
}

bool starts_with_bearer(const std::string& header) {
  return header.size() > kBearer.size() &&
         strncasecmp(header.data(), kBearer.data(), kBearer.size()) == 0;
}

// Browsers keep cookies by host, whatever the port: several servers on one host have one each.
std::string cookie_name(const RequestHead& head) {
  const size_t colon = head.host.rfind(':');
  const std::string port = colon == head.host.npos ? "" : head.host.substr(colon + 1);
  const bool is_port = !port.empty() && port.find_first_not_of("0123456789") == port.npos;
  return is_port ? "brood-" + port : "brood";
}

std::string cookie_of(const RequestHead& head) {
  const std::string begin = cookie_name(head) + "=";
  std::string_view rest = head.cookie;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(';'), rest.size());
    std::string_view item = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    while (item.starts_with(' '))
      item.remove_prefix(1);
    if (item.starts_with(begin)) return std::string(item.substr(begin.size()));
  }
  return {};
}

std::string text_member(const nlohmann::json& body, const char* name) {
  const auto found = body.find(name);
  return found != body.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

std::optional<Response> Gate::check_host(const RequestHead& head) const {
  if (head.host.empty()) return problem_response(400, "expected a Host header");
  Result<Authority> authority = parse_authority(head.host);
  if (!authority) return problem_response(400, authority.error().message);
  const std::string& host = authority->host;
  const auto& names = services_.options.host_names;
  const bool allowed = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return strcasecmp(name.c_str(), host.c_str()) == 0;
  });
  if (host == "localhost" || allowed) return std::nullopt;
  const std::string address = normal_address(host);
  if (!address.empty() && address == normal_address(head.local_address)) return std::nullopt;
  return problem_response(
      421, "this server is not " + host + "; `--host " + host + "` lets it answer to that name");
}

bool Gate::own_origin(const RequestHead& head) const {
  const size_t end = head.origin.find("://");
  if (end == std::string::npos) return false;
  const std::string scheme = head.origin.substr(0, end);
  // Somebody else may speak TLS for a server that does not.
  if (scheme != "https" && (scheme != "http" || services_.tls)) return false;
  Result<Authority> origin = parse_authority(std::string_view(head.origin).substr(end + 3));
  Result<Authority> host = parse_authority(head.host);
  if (!origin || !host) return false;
  const std::string standard = scheme == "https" ? "443" : "80";
  const auto port = [&](const Authority& one) { return one.port.empty() ? standard : one.port; };
  return origin->host == host->host && port(*origin) == port(*host);
}

template <typename Check>
Gate::Verdict Gate::attempt(const RequestHead& head, Check check) {
  Verdict out;
  if (services_.authenticator.before_attempt(head.peer).refused) {
    out.refusal = problem_response(429, "too many failures of this address; wait a minute");
    out.refusal.headers.emplace_back("Retry-After", "60");
    return out;
  }
  out.identity = check();
  if (out.identity) {
    services_.authenticator.succeeded(head.peer);
    return out;
  }
  out.delay = std::chrono::nanoseconds(services_.authenticator.failed(head.peer).delay_ns);
  out.refusal = unauthorized("authentication failed");
  return out;
}

Gate::Verdict Gate::identify(const RequestHead& head) {
  if (starts_with_bearer(head.authorization))
    return check_token(head, head.authorization.substr(kBearer.size()));
  Verdict out;
  out.by_cookie = true;
  const std::string cookie = cookie_of(head);
  if (head.authorization.empty() && !cookie.empty())
    out.identity = services_.authenticator.check_cookie(cookie);
  out.refusal = unauthorized(cookie.empty() ? "expected a bearer token or the cookie of a login"
                                            : "the login has ended; log in again");
  return out;
}

Gate::Verdict Gate::check_token(const RequestHead& head, const std::string& token) {
  return attempt(head, [&] { return services_.authenticator.check_token(token); });
}

Gate::Verdict Gate::check_login(const RequestHead& head, const nlohmann::json& body) {
  const std::string token = text_member(body, "token"), user = text_member(body, "user");
  const bool by_token = body.size() == 1 && !token.empty();
  if (!by_token && (body.size() != 2 || user.empty() || !body.contains("password"))) {
    Verdict out;
    out.refusal = problem_response(400, "expected `user` and `password`, or `token`");
    return out;
  }
  return attempt(head, [&] {
    return by_token ? services_.authenticator.check_token(token)
                    : services_.authenticator.check_password(user, text_member(body, "password"));
  });
}

bool Gate::still_valid(const RequestHead& head) const {
  if (starts_with_bearer(head.authorization))
    return services_.authenticator.check_token(head.authorization.substr(kBearer.size()))
        .has_value();
  return services_.authenticator.check_cookie(cookie_of(head)).has_value();
}

std::string Gate::make_cookie(const RequestHead& head, const Identity& identity) {
  return cookie_name(head) + "=" + services_.authenticator.make_cookie(identity) +
         "; Path=/; HttpOnly; SameSite=Strict" + (services_.options.secure ? "; Secure" : "");
}

std::string Gate::drop_cookie(const RequestHead& head) {
  if (const std::string cookie = cookie_of(head); !cookie.empty())
    services_.authenticator.drop_cookie(cookie);
  return cookie_name(head) + "=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0" +
         (services_.options.secure ? "; Secure" : "");
}

}  // namespace brood
