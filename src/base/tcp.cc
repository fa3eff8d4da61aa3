#include "base/tcp.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "base/sys.h"

namespace brood {
namespace {

void set_option(int socket, int level, int name, int value) {
  setsockopt(socket, level, name, &value, sizeof value);
}

using AskName = int (*)(int, sockaddr*, socklen_t*);  // getpeername() or getsockname()

std::string ip_of(int socket, AskName ask) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (ask(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return {};
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.ss_family == AF_INET)
    inet_ntop(AF_INET, &reinterpret_cast<sockaddr_in&>(address).sin_addr, text.data(), text.size());
  if (address.ss_family != AF_INET6) return text.data();
  const in6_addr& six = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&six))
    inet_ntop(AF_INET, &six.s6_addr[12], text.data(), text.size());
  else
    inet_ntop(AF_INET6, &six, text.data(), text.size());
  return text.data();
}

constexpr size_t kLargestTable = 64u << 20;  // bytes: some 400,000 connections

// As in /proc/net/tcp, or in tcp6, where an IPv4 address may be, too: the words of the address as
// they are in memory, then the port.
std::string in_table(const sockaddr_storage& address, bool six) {
  const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
  std::array<uint32_t, 4> words{0, 0, htonl(0xffff), v4.sin_addr.s_addr};
  if (address.ss_family == AF_INET6)
    std::copy_n(std::begin(v6.sin6_addr.s6_addr32), words.size(), words.begin());
  std::array<char, 64> text{};
  const unsigned port = ntohs(address.ss_family == AF_INET6 ? v6.sin6_port : v4.sin_port);
  if (six)
    std::snprintf(text.data(), text.size(), "%08X%08X%08X%08X:%04X", words[0], words[1], words[2],
                  words[3], port);
  else
    std::snprintf(text.data(), text.size(), "%08X:%04X", words[3], port);
  return text.data();
}

}  // namespace

void tune_tcp(int socket) {
  set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, 60);
  set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, 15);
  set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, 4);
}

std::string peer_ip(int socket) { return ip_of(socket, getpeername); }

std::string local_ip(int socket) { return ip_of(socket, getsockname); }

// Of a connection that is not established any more the table says root.
Result<unsigned> local_peer_uid(int socket) {
  constexpr const char* kEstablished = " 01 ";
  sockaddr_storage ours{}, theirs{};
  socklen_t size = sizeof ours;
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&ours), &size) != 0)
    return sys_error("see where a client came to");
  size = sizeof theirs;
  if (getpeername(socket, reinterpret_cast<sockaddr*>(&theirs), &size) != 0)
    return sys_error("see where a client came from");
  for (const bool six : {false, true}) {
    if (!six && theirs.ss_family == AF_INET6) continue;
    Result<std::string> table = read_file(six ? "/proc/net/tcp6" : "/proc/net/tcp", kLargestTable);
    const std::string entry =
        ": " + in_table(theirs, six) + " " + in_table(ours, six) + kEstablished;
    const size_t found = table ? table->find(entry) : std::string::npos;
    if (found == std::string::npos) continue;
    unsigned user = 0;
    if (std::sscanf(table->c_str() + found + entry.size(), "%*s %*s %*s %u", &user) == 1)
      return user;
  }
  return Error{"nobody on this machine has its connection"};
}

}  // namespace brood
