#include "native/native_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>

#include "base/socket.h"
#include "base/sys.h"

namespace brood {
namespace {

using boost::asio::posix::descriptor_base;

constexpr auto kAcceptPause = std::chrono::milliseconds(100);  // when descriptors have run out
constexpr int kAcceptedAtOnce = 64;                            // then others get their turn

void set_option(int socket, int level, int name, int value) {
  setsockopt(socket, level, name, &value, sizeof value);
}

// A peer whose machine is gone is noticed within two minutes.
void set_tcp_options(int socket) {
  set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, 60);
  set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, 15);
  set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, 4);
}

// The peer's IP address; an IPv4 one on an IPv6 socket as IPv4.
std::string ip_address(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getpeername(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return "unknown";
  char text[INET6_ADDRSTRLEN] = "unknown";
  if (address.ss_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<sockaddr_in&>(address).sin_addr, text, sizeof text);
  } else if (address.ss_family == AF_INET6) {
    inet_ntop(AF_INET6, &reinterpret_cast<sockaddr_in6&>(address).sin6_addr, text, sizeof text);
  }
  const std::string whole = text;
  return whole.starts_with("::ffff:") && whole.find('.') != whole.npos ? whole.substr(7) : whole;
}

}  // namespace

NativeServer::NativeServer(boost::asio::io_context& io, Fd listener, NativeKind kind,
                           std::function<SSL_CTX*()> context, Api& api,
                           Authenticator& authenticator, NativeOptions options)
    : io_(io),
      listener_(io, listener.release()),
      pause_(io),
      kind_(kind),
      context_(std::move(context)),
      api_(api),
      authenticator_(authenticator),
      options_(std::move(options)) {
  require(kind_ != NativeKind::kTls || context_, "TLS has a source of contexts");
  listener_.non_blocking(true);
  accept_soon();
}

NativeServer::~NativeServer() = default;

void NativeServer::accept_soon() {
  if (accepting_) return;
  accepting_ = true;
  listener_.async_wait(descriptor_base::wait_read, guard_.wrap([this](auto error) {
    accepting_ = false;
    if (!error) accept_some();
  }));
}

void NativeServer::accept_some() {
  for (int i = 0; i < kAcceptedAtOnce; i++) {
    if (connections_.size() >= options_.connections) return;  // the end of one goes on
    Fd socket(accept4(listener_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC));
    if (socket) {
      admit(std::move(socket));
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EAGAIN) break;
    spdlog::error("{}", sys_error("accept a client").message);
    pause_.expires_after(kAcceptPause);
    pause_.async_wait(guard_.wrap([this](auto error) {
      if (!error) accept_soon();
    }));
    return;
  }
  accept_soon();
}

NativePeer NativeServer::peer_of(int socket) const {
  if (kind_ != NativeKind::kUnix) return {ip_address(socket), std::nullopt};
  Result<unsigned> uid = peer_uid(socket);
  if (uid && *uid == geteuid()) return {"unix", Identity{options_.owner, true}};
  return {"unix", std::nullopt};
}

void NativeServer::admit(Fd socket) {
  if (kind_ != NativeKind::kUnix) set_tcp_options(socket.get());
  SSL_CTX* context = kind_ == NativeKind::kTls ? context_() : nullptr;
  NativePeer peer = peer_of(socket.get());
  const auto place = connections_.emplace(connections_.end());
  *place = std::make_unique<NativeConnection>(io_, std::move(socket), context, std::move(peer),
                                              options_, api_, authenticator_, [this, place] {
                                                connections_.erase(place);
                                                accept_soon();
                                              });
}

}  // namespace brood
