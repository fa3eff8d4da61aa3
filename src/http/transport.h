// HttpTransport: one TCP connection, plain or TLS, as Beast wants a stream. The one place that
// includes Beast, whose names meet the macro of base/require.h; included by connection.h's and
// websocket.h's sources only, since it is slow to compile.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "base/fd.h"
#include "daemon/asio.h"

#pragma push_macro("require")
#undef require
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/bind_handler.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/serializer.hpp>
#include <boost/beast/websocket/stream.hpp>
#pragma pop_macro("require")

namespace brood {

// Shared by the operations under way on it.
class HttpTransport {
 public:
  using Socket = boost::asio::ip::tcp::socket;
  using executor_type = Socket::executor_type;

  // `context`: for TLS, a reference that becomes the transport's; none: plain TCP.
  HttpTransport(boost::asio::io_context& io, Fd socket, SSL_CTX* context)
      : socket_(io, boost::asio::ip::tcp::v4(), socket.release()) {
    if (!context) return;
    boost::asio::ssl::context owner(context);
    tls_.emplace(socket_, owner);
  }
  HttpTransport(const HttpTransport&) = delete;

  executor_type get_executor() { return socket_.get_executor(); }
  bool is_tls() const { return tls_.has_value(); }

  template <typename Buffers, typename Handler>
  void async_read_some(const Buffers& buffers, Handler&& handler) {
    if (tls_)
      tls_->async_read_some(buffers, std::forward<Handler>(handler));
    else
      socket_.async_read_some(buffers, std::forward<Handler>(handler));
  }
  template <typename Buffers, typename Handler>
  void async_write_some(const Buffers& buffers, Handler&& handler) {
    if (tls_)
      tls_->async_write_some(buffers, std::forward<Handler>(handler));
    else
      socket_.async_write_some(buffers, std::forward<Handler>(handler));
  }
  template <typename Handler>
  void async_handshake(Handler&& handler) {
    tls_->async_handshake(boost::asio::ssl::stream_base::server, std::forward<Handler>(handler));
  }
  // Says goodbye in TLS' way.
  template <typename Handler>
  void async_shutdown(Handler&& handler) {
    tls_->async_shutdown(std::forward<Handler>(handler));
  }
  // The client reads to the end; what it still sends can be read.
  void shutdown_send() {
    boost::system::error_code ignored;
    socket_.shutdown(Socket::shutdown_send, ignored);
  }
  void close() {
    boost::system::error_code ignored;
    socket_.close(ignored);
  }

 private:
  Socket socket_;
  std::optional<boost::asio::ssl::stream<Socket&>> tls_;
};

// What Beast's WebSocket asks of a stream of one's own.
inline void teardown(boost::beast::role_type, HttpTransport& transport,
                     boost::system::error_code& error) {
  transport.close();
  error = {};
}
template <typename Handler>
void async_teardown(boost::beast::role_type, HttpTransport& transport, Handler&& handler) {
  transport.shutdown_send();
  boost::asio::post(transport.get_executor(),
                    boost::beast::bind_front_handler(std::forward<Handler>(handler),
                                                     boost::system::error_code()));
}
inline void beast_close_socket(HttpTransport& transport) { transport.close(); }

}  // namespace brood
