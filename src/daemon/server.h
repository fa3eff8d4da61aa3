// Server: the daemon's socket and the clients on it. Nothing that a client does can make it
// allocate without limit or wait. Daemon process, its one thread.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>

#include "base/fd.h"
#include "daemon/acceptor.h"
#include "daemon/asio.h"
#include "daemon/commands.h"
#include "daemon/environments.h"
#include "daemon/startup.h"

namespace brood {

class Server {
 public:
  // `stop` is called with the reason: a client has asked for it and got its answer, or a client has
  // come and the installation is another one; that client finds its connection closed.
  Server(boost::asio::io_context& io, Fd listener, const DaemonFacts& facts,
         Installation installation, Environments& environments,
         std::function<void(const std::string& why)> stop);
  ~Server();
  Server(const Server&) = delete;

 private:
  class Connection;

  void admit(Fd socket);
  void drop(Connection& connection);

  boost::asio::io_context& io_;
  const DaemonFacts facts_;
  const Installation installation_;
  const std::string context_;
  Environments& environments_;
  const std::function<void(const std::string& why)> stop_;
  Acceptor acceptor_;
  std::list<std::unique_ptr<Connection>> connections_;
  Guard guard_;
};

}  // namespace brood
