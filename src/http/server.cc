#include "http/server.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <list>

#include "base/sys.h"
#include "daemon/guard.h"
#include "http/connection.h"
#include "http/front.h"
#include "http/services.h"

namespace brood {
namespace {

using boost::asio::posix::descriptor_base;

constexpr auto kAcceptPause = std::chrono::milliseconds(100);  // when descriptors have run out
constexpr std::string_view kFull =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
    "Retry-After: 1\r\nConnection: close\r\nContent-Length: 133\r\n\r\n"
    R"({"type":"about:blank","title":"Service Unavailable","status":503,)"
    R"("detail":"the server has too many connections","code":"unavailable"})";

std::string address_text(const sockaddr_storage& address) {
  std::array<char, INET6_ADDRSTRLEN> out{};
  if (address.ss_family == AF_INET)
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr, out.data(),
              out.size());
  if (address.ss_family != AF_INET6) return out.data();
  const in6_addr& six = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&six))
    inet_ntop(AF_INET, &six.s6_addr[12], out.data(), out.size());
  else
    inet_ntop(AF_INET6, &six, out.data(), out.size());
  return out.data();
}

HttpPeer peer_of(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  HttpPeer out;
  if (getpeername(socket, reinterpret_cast<sockaddr*>(&address), &size) == 0)
    out.address = address_text(address);
  size = sizeof(address);
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) == 0)
    out.local_address = address_text(address);
  out.loopback = out.address.starts_with("127.") || out.address == "::1";
  return out;
}

// Small answers go at once; a client whose machine has gone is noticed.
void tune(int socket) {
  const int on = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

}  // namespace

class HttpServer::Impl {
 public:
  Impl(boost::asio::io_context& io, Fd listener, std::function<ssl_ctx_st*()> tls, Api& api,
       Authenticator& authenticator, HttpOptions options)
      : services_{io, api, authenticator, std::move(options), tls != nullptr, {}},
        tls_(std::move(tls)),
        front_(make_front(services_)),
        listener_(io, listener.release()),
        pause_(io) {
    listener_.non_blocking(true);
    accept_soon();
  }

  ~Impl() {
    for (const auto& one : connections_)
      one->close();
  }

  void leave(std::function<void()> done) {
    left_ = std::move(done);
    boost::system::error_code ignored;
    listener_.close(ignored);
    pause_.cancel();
    const auto connections = connections_;  // some end at once
    for (const auto& one : connections)
      one->leave();
    if (connections_.empty()) tell_left();
  }

  const HttpCounters& counters() const { return services_.counters; }

 private:
  using Connections = std::list<std::shared_ptr<Connection>>;

  void accept_soon() {
    if (!listener_.is_open()) return;
    listener_.async_wait(descriptor_base::wait_read, guard_.wrap([this](auto error) {
      if (!error) accept_some();
    }));
  }

  void accept_some() {
    for (;;) {
      Fd socket(accept4(listener_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC));
      if (socket) {
        admit(std::move(socket));
        continue;
      }
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno == EAGAIN) return accept_soon();
      spdlog::error("{}", sys_error("accept a client").message);
      pause_.expires_after(kAcceptPause);
      pause_.async_wait(guard_.wrap([this](auto error) {
        if (!error) accept_soon();
      }));
      return;
    }
  }

  void admit(Fd socket) {
    if (connections_.size() >= services_.options.max_connections) return refuse(socket.get());
    ssl_ctx_st* const context = tls_ ? tls_() : nullptr;
    if (tls_ && !context) return;  // never in the clear instead
    tune(socket.get());
    HttpPeer peer = peer_of(socket.get());
    const auto place = connections_.emplace(connections_.end());
    ++services_.counters.connections;
    *place = make_connection(services_, front_, std::move(socket), std::move(peer), context,
                             guard_.wrap([this, place] { forget(place); }));
    (*place)->start();
  }

  // Says so as far as it can without waiting; the client's request is not read.
  void refuse(int socket) {
    ++services_.counters.refused;
    if (tls_) return;
    ++services_.counters.answers[5];
    std::array<char, 4096> unread;
    while (recv(socket, unread.data(), unread.size(), MSG_DONTWAIT) > 0) {
    }
    (void)!::send(socket, kFull.data(), kFull.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }

  void forget(Connections::iterator place) {
    connections_.erase(place);
    --services_.counters.connections;
    if (left_ && connections_.empty()) tell_left();
  }

  void tell_left() {
    services_.io.post(guard_.wrap([done = std::exchange(left_, nullptr)] {
      if (done) done();
    }));
  }

  Services services_;
  const std::function<ssl_ctx_st*()> tls_;
  const ResponderFactory front_;
  boost::asio::posix::stream_descriptor listener_;
  boost::asio::steady_timer pause_;
  Connections connections_;
  std::function<void()> left_;
  Guard guard_;
};

HttpServer::HttpServer(boost::asio::io_context& io, Fd listener, std::function<ssl_ctx_st*()> tls,
                       Api& api, Authenticator& authenticator, HttpOptions options)
    : impl_(std::make_unique<Impl>(io, std::move(listener), std::move(tls), api, authenticator,
                                   std::move(options))) {}

HttpServer::~HttpServer() = default;

void HttpServer::leave(std::function<void()> done) { impl_->leave(std::move(done)); }

const HttpCounters& HttpServer::counters() const { return impl_->counters(); }

}  // namespace brood
