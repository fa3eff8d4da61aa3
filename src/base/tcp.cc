#include "base/tcp.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <optional>

#include "base/fd.h"
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

constexpr uint32_t kEstablished = 1;

void fill(const sockaddr_storage& address, uint16_t& port, uint32_t* words) {
  const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
  const bool six = address.ss_family == AF_INET6;
  port = six ? v6.sin6_port : v4.sin_port;
  if (six)
    std::memcpy(words, &v6.sin6_addr, sizeof v6.sin6_addr);
  else
    words[0] = v4.sin_addr.s_addr;
}

// Asks the kernel for one connection (sock_diag(7)), which takes some microseconds; its table takes
// milliseconds to read. Nothing: it does not have it, or answers no such questions.
std::optional<unsigned> ask_for_uid(const sockaddr_storage& from, const sockaddr_storage& to) {
  struct Question {
    nlmsghdr header;
    inet_diag_req_v2 request;
  } question{};
  question.header.nlmsg_len = sizeof question;
  question.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  question.header.nlmsg_flags = NLM_F_REQUEST;
  inet_diag_req_v2& request = question.request;
  request.sdiag_family = static_cast<uint8_t>(from.ss_family);
  request.sdiag_protocol = IPPROTO_TCP;
  request.idiag_states = 1u << kEstablished;
  fill(from, request.id.idiag_sport, request.id.idiag_src);
  fill(to, request.id.idiag_dport, request.id.idiag_dst);
  std::fill(std::begin(request.id.idiag_cookie), std::end(request.id.idiag_cookie),
            INET_DIAG_NOCOOKIE);
  const Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!socket || send(socket.get(), &question, sizeof question, 0) < 0) return std::nullopt;
  alignas(nlmsghdr) std::array<char, 4096> answer;
  sockaddr_nl sender{};
  socklen_t size = sizeof sender;
  const ssize_t got = recvfrom(socket.get(), answer.data(), answer.size(), MSG_DONTWAIT,
                               reinterpret_cast<sockaddr*>(&sender), &size);
  const auto& header = reinterpret_cast<const nlmsghdr&>(answer);
  if (got < static_cast<ssize_t>(NLMSG_LENGTH(sizeof(inet_diag_msg))) || sender.nl_pid != 0 ||
      header.nlmsg_type != SOCK_DIAG_BY_FAMILY)
    return std::nullopt;
  const auto& found = *reinterpret_cast<const inet_diag_msg*>(answer.data() + NLMSG_HDRLEN);
  if (found.idiag_state != kEstablished) return std::nullopt;  // in others it has lost its owner
  return found.idiag_uid;
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
  constexpr const char* kIsEstablished = " 01 ";
  sockaddr_storage ours{}, theirs{};
  socklen_t size = sizeof ours;
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&ours), &size) != 0)
    return sys_error("see where a client came to");
  size = sizeof theirs;
  if (getpeername(socket, reinterpret_cast<sockaddr*>(&theirs), &size) != 0)
    return sys_error("see where a client came from");
  if (const std::optional<unsigned> user = ask_for_uid(theirs, ours)) return *user;
  for (const bool six : {false, true}) {
    if (!six && theirs.ss_family == AF_INET6) continue;
    Result<std::string> table = read_file(six ? "/proc/net/tcp6" : "/proc/net/tcp", kLargestTable);
    const std::string entry =
        ": " + in_table(theirs, six) + " " + in_table(ours, six) + kIsEstablished;
    const size_t found = table ? table->find(entry) : std::string::npos;
    if (found == std::string::npos) continue;
    unsigned user = 0;
    if (std::sscanf(table->c_str() + found + entry.size(), "%*s %*s %*s %u", &user) == 1)
      return user;
  }
  return Error{"nobody on this machine has its connection"};
}

}  // namespace brood
