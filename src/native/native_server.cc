#include "native/native_server.h"

#include <unistd.h>

#include "base/require.h"
#include "base/socket.h"
#include "base/tcp.h"

namespace brood {
NativeServer::NativeServer(boost::asio::io_context& io, Fd listener, NativeKind kind,
                           std::function<SSL_CTX*()> context, Api& api,
                           Authenticator& authenticator, NativeOptions options)
    : io_(io),
      kind_(kind),
      context_(std::move(context)),
      api_(api),
      authenticator_(authenticator),
      options_(std::move(options)),
      acceptor_(
          io, std::move(listener), [this](Fd socket) { admit(std::move(socket)); },
          [this] { return connections_.size() < options_.connections; }) {
  require(kind_ != NativeKind::kTls || context_, "TLS has a source of contexts");
}

NativeServer::~NativeServer() = default;

NativePeer NativeServer::peer_of(int socket) const {
  if (kind_ != NativeKind::kUnix) {
    const std::string address = peer_ip(socket);
    return {address.empty() ? "unknown" : address, std::nullopt};
  }
  Result<unsigned> uid = peer_uid(socket);
  if (uid && *uid == geteuid()) return {"unix", Identity{options_.owner, true}};
  return {"unix", std::nullopt};
}

void NativeServer::admit(Fd socket) {
  if (kind_ != NativeKind::kUnix) tune_tcp(socket.get());
  SSL_CTX* context = kind_ == NativeKind::kTls ? context_() : nullptr;
  NativePeer peer = peer_of(socket.get());
  const auto place = connections_.emplace(connections_.end());
  *place = std::make_unique<NativeConnection>(io_, std::move(socket), context, std::move(peer),
                                              options_, api_, authenticator_, [this, place] {
                                                connections_.erase(place);
                                                acceptor_.go_on();
                                              });
}

}  // namespace brood
