#include "client/address.h"

#include <algorithm>
#include <cstdlib>

#include "base/runtime_dir.h"

namespace brood {

Result<ServerAddress> parse_server_address(const std::string& text) {
  const Error wrong{"the server's address is " + (text.empty() ? "empty" : text) +
                    "; expected unix:PATH, tcp:HOST:PORT or tls:HOST:PORT"};
  const size_t colon = text.find(':');
  if (colon == text.npos) return wrong;
  const std::string kind = text.substr(0, colon);
  const std::string rest = text.substr(colon + 1);
  if (kind == "unix") {
    if (rest.empty()) return wrong;
    return ServerAddress{ServerAddress::Kind::kUnix, rest, "", ""};
  }
  if (kind != "tcp" && kind != "tls") return wrong;
  ServerAddress out;
  out.kind = kind == "tls" ? ServerAddress::Kind::kTls : ServerAddress::Kind::kTcp;
  const size_t last = rest.rfind(':');
  if (last == rest.npos) return wrong;
  out.host = rest.substr(0, last);
  out.port = rest.substr(last + 1);
  if (out.host.size() > 2 && out.host.front() == '[' && out.host.back() == ']')
    out.host = out.host.substr(1, out.host.size() - 2);
  const bool digits =
      std::all_of(out.port.begin(), out.port.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (out.host.empty() || out.port.empty() || out.port.size() > 5 || !digits) return wrong;
  return out;
}

std::string default_server_address() {
  const char* chosen = getenv("BROOD_SERVER");
  if (chosen && *chosen) return chosen;
  return "unix:" + runtime_dir().path + "/serve/sessions.sock";
}

}  // namespace brood
