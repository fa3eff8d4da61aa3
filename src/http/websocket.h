// WebSocketLink: a connection after its upgrade. Server process, its one thread. Shared by its
// connection and the operations under way.
#pragma once

#include "http/exchange.h"
#include "http/services.h"
#include "http/transport.h"

namespace brood {

using UpgradeRequest = boost::beast::http::request<boost::beast::http::buffer_body>;

class WebSocketLink {
 public:
  virtual ~WebSocketLink() = default;
  virtual void start(const UpgradeRequest& request) = 0;
  virtual void leave() = 0;  // closes with 1001
  // Ends it at once; the handler is destroyed and nothing is called.
  virtual void close() = 0;
};

// `closed` is called when it has ended by itself.
std::shared_ptr<WebSocketLink> make_websocket(Services& services,
                                              std::shared_ptr<HttpTransport> transport,
                                              std::unique_ptr<TextSocket::Handler> handler,
                                              std::function<void()> closed);

}  // namespace brood
