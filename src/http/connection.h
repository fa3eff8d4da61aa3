// Connection: one client of the HTTP door: its requests one after the other, then perhaps a
// WebSocket. Server process, its one thread. Shared by the server and the operations under way.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/fd.h"
#include "http/exchange.h"
#include "http/services.h"

struct ssl_ctx_st;  // OpenSSL's SSL_CTX

namespace brood {

struct HttpPeer {
  std::string address;        // without the port
  std::string local_address;  // the server's end
  bool loopback = false;
};

class Connection {
 public:
  virtual ~Connection() = default;
  virtual void start() = 0;
  // The server leaves: a WebSocket is told, a request is answered to its end, nothing new begins.
  virtual void leave() = 0;
  // Ends it at once. Nothing is called afterwards, and those who answer are gone. Not to be called
  // by one of them.
  virtual void close() = 0;
};

// `services` and `factory` must outlive close(). `context`: a reference that becomes the
// connection's; none for plain HTTP. `closed` is called when the connection has ended by itself.
std::shared_ptr<Connection> make_connection(Services& services, const ResponderFactory& factory,
                                            Fd socket, HttpPeer peer, ssl_ctx_st* context,
                                            std::function<void()> closed);

}  // namespace brood
