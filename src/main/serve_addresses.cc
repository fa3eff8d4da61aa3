#include "main/serve_addresses.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

#include "base/socket.h"
#include "base/sys.h"

namespace brood {
namespace {

struct Scheme {
  Address::Kind kind;
  const char* name;
};
constexpr std::array<Scheme, 7> kSchemes = {{{Address::Kind::kUnix, "unix"},
                                             {Address::Kind::kTcp, "tcp"},
                                             {Address::Kind::kTls, "tls"},
                                             {Address::Kind::kHttp, "http"},
                                             {Address::Kind::kHttps, "https"},
                                             {Address::Kind::kGateway, "gateway"},
                                             {Address::Kind::kExecnet, "execnet"}}};

Error bad(std::string_view text) {
  return Error{"the address " + std::string(text) +
               " is none of unix:PATH, tcp:HOST:PORT, tls:HOST:PORT, http:HOST:PORT, "
               "https:HOST:PORT, gateway:HOST:PORT, execnet:HOST:PORT"};
}

bool is_port(const std::string& text) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value <= 65535;
}

using Found = std::unique_ptr<addrinfo, void (*)(addrinfo*)>;

Result<Found> look_up(const Address& address, int family = AF_UNSPEC) {
  addrinfo hints{};
  hints.ai_family = family;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int failed = getaddrinfo(address.host.empty() ? nullptr : address.host.c_str(),
                                 address.port.c_str(), &hints, &found);
  if (failed != 0)
    return Error{"the host of " + address.text() + " cannot be found: " + gai_strerror(failed)};
  return Found(found, freeaddrinfo);
}

bool is_own(const sockaddr* address) {
  if (address->sa_family == AF_INET)
    return ntohl(reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr) >> 24 == 127;
  return address->sa_family == AF_INET6 &&
         IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr);
}

bool is_any(const sockaddr* address) {
  if (address->sa_family == AF_INET)
    return reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr == INADDR_ANY;
  return address->sa_family == AF_INET6 &&
         IN6_IS_ADDR_UNSPECIFIED(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr);
}

// Whether it is an address of this machine: only such a one can be bound.
bool leads_here(const Address& address, int family) {
  Address any_port = address;
  any_port.port = "0";
  Result<Found> found = look_up(any_port, family);
  if (!found) return false;
  const addrinfo& first = **found;
  const Fd socket(::socket(first.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return socket && bind(socket.get(), first.ai_addr, first.ai_addrlen) == 0;
}

std::string port_of(int socket) {
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&name), &size) != 0) return "0";
  const in_port_t port = name.ss_family == AF_INET6
                             ? reinterpret_cast<sockaddr_in6*>(&name)->sin6_port
                             : reinterpret_cast<sockaddr_in*>(&name)->sin_port;
  return std::to_string(ntohs(port));
}

Result<Fd> listen_tcp(Address& address) {
  Result<Found> found = look_up(address);
  if (!found) return found.error();
  const addrinfo& first = **found;
  Fd socket(::socket(first.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return sys_error("make a socket");
  const int on = 1;
  setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(socket.get(), first.ai_addr, first.ai_addrlen) != 0)
    return sys_error("listen on " + address.text());
  if (listen(socket.get(), kServeBacklog) != 0) return sys_error("listen on " + address.text());
  address.port = port_of(socket.get());
  return socket;
}

Result<Fd> listen_path(const Address& address) {
  struct stat st;
  if (lstat(address.path.c_str(), &st) == 0) {
    if (!S_ISSOCK(st.st_mode)) return Error{address.path + " exists and is no socket"};
    if (connect_unix(address.path))
      return Error{"somebody listens on " + address.path + " already"};
    unlink(address.path.c_str());
  }
  const mode_t mask = umask(077);
  Result<Fd> socket = listen_unix(address.path, kServeBacklog);
  umask(mask);
  return socket;
}

// HOST:PORT, [HOST]:PORT, or as in the address of a page: //HOST:PORT/.
Result<void> split_place(std::string_view text, std::string rest, Address& address) {
  if (rest.starts_with("//")) {
    rest.erase(0, 2);
    if (rest.ends_with('/')) rest.pop_back();
  }
  const size_t last = rest.rfind(':');
  if (last == rest.npos) return bad(text);
  address.host = rest.substr(0, last);
  address.port = rest.substr(last + 1);
  const bool brackets =
      address.host.size() > 1 && address.host.front() == '[' && address.host.back() == ']';
  if (brackets) address.host = address.host.substr(1, address.host.size() - 2);
  if (address.host.empty()) return bad(text);
  if (!brackets && address.host.find(':') != address.host.npos)
    return Error{"the address " + std::string(text) +
                 " has several colons; an IPv6 address is written in brackets: tcp:[::1]:8787"};
  if (!is_port(address.port))
    return Error{"the port of " + std::string(text) + " is '" + address.port +
                 "', expected a number from 0 to 65535"};
  return {};
}

}  // namespace

std::string Address::text() const {
  for (const Scheme& scheme : kSchemes) {
    if (scheme.kind != kind) continue;
    const std::string prefix = std::string(scheme.name) + ":";
    if (kind == Kind::kUnix) return prefix + path;
    const bool v6 = host.find(':') != host.npos;
    return prefix + (v6 ? "[" + host + "]" : host) + ":" + port;
  }
  return "";
}

Result<Address> parse_address(std::string_view text) {
  Address address;
  const size_t colon = text.find(':');
  if (colon == text.npos) return bad(text);
  const std::string_view name = text.substr(0, colon);
  std::string rest(text.substr(colon + 1));
  bool known = false;
  for (const Scheme& scheme : kSchemes)
    if (name == scheme.name) {
      address.kind = scheme.kind;
      known = true;
    }
  if (!known || rest.empty()) return bad(text);
  if (address.kind == Address::Kind::kUnix) {
    char here[4096];
    if (rest.front() != '/' && getcwd(here, sizeof here)) rest = std::string(here) + "/" + rest;
    if (rest.size() >= sizeof sockaddr_un{}.sun_path)
      return Error{"the path " + rest + " is too long for a socket (107 bytes)"};
    address.path = rest;
    return address;
  }
  if (Result<void> good = split_place(text, std::move(rest), address); !good) return good.error();
  return address;
}

bool is_wildcard(const Address& address) {
  if (address.kind == Address::Kind::kUnix) return false;
  Result<Found> found = look_up(address);
  return found && is_any((**found).ai_addr);
}

std::string machine_name() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  const std::string_view text = name;
  const bool good = std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return c < 128 && (std::isalnum(c) || c == '-' || c == '.');
  });
  return good ? name : "";
}

std::string reachable_host(const Address& address) {
  if (!is_wildcard(address)) return address.host;
  const bool v6 = address.host.find(':') != address.host.npos;
  Address named = address;
  named.host = machine_name();
  if (!named.host.empty() && leads_here(named, v6 ? AF_UNSPEC : AF_INET)) return named.host;
  return v6 ? "::1" : "127.0.0.1";
}

Result<bool> is_loopback(const Address& address) {
  if (address.kind == Address::Kind::kUnix) return true;
  Result<Found> found = look_up(address);
  if (!found) return found.error();
  for (const addrinfo* one = found->get(); one; one = one->ai_next)
    if (!is_own(one->ai_addr)) return false;
  return true;
}

Result<Fd> listen_on(Address& address) {
  return address.kind == Address::Kind::kUnix ? listen_path(address) : listen_tcp(address);
}

}  // namespace brood
