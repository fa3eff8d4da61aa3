// GatewayServer: an address for `socket=HOST:PORT` of brood's gateways. Every client gets an
// interpreter that is forked from a warm environment, with the client's connection as its link
// (docs/protocol.md, section 8). Server process, its one thread. Destroying it ends all of them.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>

#include "auth/auth.h"
#include "base/fd.h"
#include "daemon/acceptor.h"
#include "daemon/asio.h"
#include "daemon/socket_worker.h"
#include "native/farewell.h"
#include "native/gateway_visitor.h"
#include "session/sessions.h"

namespace brood {

struct GatewayOptions {
  std::string core;                   // the folder of brood/gateways/core
  std::string owner;                  // the name of who has the server's user id
  std::function<bool()> wants_token;  // else processes of the server's own user need none
  size_t gateways = 100;              // at the same time; who comes then is told so
  size_t visitors = 64;               // clients that have no interpreter yet; others wait
  int patience_ms = 10'000;           // for a visitor
};

class GatewayServer {
 public:
  // `listener` is bound and listens. The others outlive the server.
  GatewayServer(boost::asio::io_context& io, Fd listener, EnvironmentSource& environments,
                Authenticator& authenticator, GatewayOptions options);
  ~GatewayServer();
  GatewayServer(const GatewayServer&) = delete;

  size_t gateways() const { return workers_.size(); }
  uint64_t started() const { return started_; }  // since it was made

 private:
  using Visitors = std::list<std::unique_ptr<GatewayVisitor>>;
  using Workers = std::list<SocketWorker>;

  void admit(Fd socket);
  GatewayVisitor::Admission admission_of(int socket) const;
  void on_visit(Visitors::iterator place, GatewayVisitor::End end);
  void start(Fd socket, const GatewayWish& wish);
  SocketProgram program_for(const GatewayWish& wish, const std::string& environment) const;
  void on_ended(Workers::iterator place, uint64_t request, const std::string& why);
  void let_go(Fd socket, const std::string& last_words);

  boost::asio::io_context& io_;
  EnvironmentSource& environments_;
  Authenticator& authenticator_;
  const GatewayOptions options_;
  const Fd folder_;  // the server's working directory
  Visitors visitors_;
  std::list<std::unique_ptr<Farewell>> leaving_;
  Workers workers_;
  uint64_t started_ = 0;
  Acceptor acceptor_;
};

}  // namespace brood
