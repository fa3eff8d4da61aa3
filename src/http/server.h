// HttpServer: the HTTP/1.1 and WebSocket door of `brood serve` on one listening socket. What may be
// asked is in docs/http.md. Nothing that a client does can make it allocate without limit or wait.
// Server process, its one thread.
#pragma once

#include <functional>
#include <memory>

#include "auth/auth.h"
#include "base/fd.h"
#include "daemon/asio.h"
#include "http/options.h"
#include "session/api.h"

struct ssl_ctx_st;  // OpenSSL's SSL_CTX

namespace brood {

class HttpServer {
 public:
  // `listener`: a TCP socket that is bound and listens. `tls`: asked for each new connection, so
  // that a reload is seen; gives a reference that becomes the server's; empty: plain HTTP. `api`
  // and `authenticator` must outlive the server.
  HttpServer(boost::asio::io_context& io, Fd listener, std::function<ssl_ctx_st*()> tls, Api& api,
             Authenticator& authenticator, HttpOptions options);
  // Ends every connection at once; nothing of the Api's answers arrives anywhere afterwards. Not to
  // be called from within a call of the Api or the Authenticator.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;

  // Accepts nobody any more; WebSockets are closed with 1001, requests are answered to their end.
  // `done` is called (from the event loop) when no connection is left; the caller bounds the wait.
  void leave(std::function<void()> done);

  const HttpCounters& counters() const;

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace brood
