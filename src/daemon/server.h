// Server: the daemon's socket and the clients on it. Nothing that a client does can make it
// allocate without limit or wait. Daemon process, its one thread.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>

#include "base/fd.h"
#include "daemon/asio.h"
#include "daemon/commands.h"
#include "daemon/environments.h"

namespace brood {

class Server {
 public:
  // `stop` is called once a client has asked for it and got its answer.
  Server(boost::asio::io_context& io, Fd listener, const DaemonFacts& facts,
         Environments& environments, std::function<void()> stop);
  ~Server();
  Server(const Server&) = delete;

 private:
  class Connection;

  void accept_soon();
  void accept_some();
  void admit(Fd socket);
  void drop(Connection& connection);

  boost::asio::io_context& io_;
  boost::asio::posix::stream_descriptor listener_;
  boost::asio::steady_timer pause_;
  const DaemonFacts facts_;
  const std::string context_;
  Environments& environments_;
  const std::function<void()> stop_;
  std::list<std::unique_ptr<Connection>> connections_;
  bool accepting_ = false;
  Guard guard_;
};

}  // namespace brood
