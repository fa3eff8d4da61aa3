// NativeServer: one address of the native protocol (docs/protocol.md, section 5) and the clients on
// it. Server process, its one thread. Destroying it ends every connection.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>

#include "auth/auth.h"
#include "base/fd.h"
#include "daemon/acceptor.h"
#include "daemon/asio.h"
#include "native/connection.h"
#include "session/api.h"

namespace brood {

enum class NativeKind { kUnix, kTcp, kTls };

class NativeServer {
 public:
  // `listener` is bound and listens. `context` (TLS only) is asked for each connection, so that a
  // new certificate serves whoever comes next; it must not be null then. The Api and the
  // authenticator outlive the server.
  NativeServer(boost::asio::io_context& io, Fd listener, NativeKind kind,
               std::function<SSL_CTX*()> context, Api& api, Authenticator& authenticator,
               NativeOptions options);
  ~NativeServer();
  NativeServer(const NativeServer&) = delete;

  size_t connections() const { return connections_.size(); }

 private:
  void admit(Fd socket);
  NativePeer peer_of(int socket) const;

  boost::asio::io_context& io_;
  const NativeKind kind_;
  const std::function<SSL_CTX*()> context_;
  Api& api_;
  Authenticator& authenticator_;
  const NativeOptions options_;
  Acceptor acceptor_;
  std::list<std::unique_ptr<NativeConnection>> connections_;
};

}  // namespace brood
