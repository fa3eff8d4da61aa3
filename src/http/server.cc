#include "http/server.h"

#include <sys/socket.h>

#include <array>
#include <list>

#include "base/tcp.h"
#include "daemon/acceptor.h"
#include "daemon/guard.h"
#include "http/connection.h"
#include "http/front.h"
#include "http/services.h"

namespace brood {
namespace {

constexpr std::string_view kFull =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
    "Retry-After: 1\r\nConnection: close\r\nContent-Length: 133\r\n\r\n"
    R"({"type":"about:blank","title":"Service Unavailable","status":503,)"
    R"("detail":"the server has too many connections","code":"unavailable"})";

HttpPeer peer_of(int socket) {
  HttpPeer out;
  out.address = peer_ip(socket);
  out.local_address = local_ip(socket);
  out.loopback = out.address.starts_with("127.") || out.address == "::1";
  return out;
}

}  // namespace

class HttpServer::Impl {
 public:
  Impl(boost::asio::io_context& io, Fd listener, std::function<ssl_ctx_st*()> tls, Api& api,
       Authenticator& authenticator, HttpOptions options)
      : services_{io, api, authenticator, std::move(options), tls != nullptr, {}},
        tls_(std::move(tls)),
        front_(make_front(services_)),
        acceptor_(
            io, std::move(listener), [this](Fd socket) { admit(std::move(socket)); },
            [] { return true; }) {}

  ~Impl() {
    for (const auto& one : connections_)
      one->close();
  }

  void leave(std::function<void()> done) {
    left_ = std::move(done);
    acceptor_.close();
    const auto connections = connections_;  // some end at once
    for (const auto& one : connections)
      one->leave();
    if (connections_.empty()) tell_left();
  }

  const HttpCounters& counters() const { return services_.counters; }

 private:
  using Connections = std::list<std::shared_ptr<Connection>>;

  void admit(Fd socket) {
    if (connections_.size() >= services_.options.max_connections) return refuse(socket.get());
    ssl_ctx_st* const context = tls_ ? tls_() : nullptr;
    if (tls_ && !context) return;  // never in the clear instead
    tune_tcp(socket.get());
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
  Acceptor acceptor_;
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
