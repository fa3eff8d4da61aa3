// ExecnetServer: an address for execnet's `socket=HOST:PORT`. Every client gets a worker, which
// does what execnet's own socketserver does (daemon/execnet.py). That protocol has no passwords:
// the listener must be on a loopback address, and only clients of the server's own user are served.
// Server process, its one thread. Destroying it ends all workers.
#pragma once

#include <cstdint>
#include <list>
#include <memory>

#include "base/fd.h"
#include "daemon/acceptor.h"
#include "daemon/asio.h"
#include "daemon/preparation.h"
#include "daemon/socket_worker.h"

namespace brood {

class ExecnetServer {
 public:
  // `most`: so many clients at the same time; others wait until one leaves.
  ExecnetServer(boost::asio::io_context& io, Fd listener, Prepare prepare, size_t most);
  ~ExecnetServer();
  ExecnetServer(const ExecnetServer&) = delete;

  size_t gateways() const { return workers_.size(); }
  uint64_t started() const { return started_; }  // since it was made

 private:
  void admit(Fd socket);

  boost::asio::io_context& io_;
  const Prepare prepare_;
  const Fd folder_;  // the server's working directory
  std::list<SocketWorker> workers_;
  uint64_t started_ = 0;
  Acceptor acceptor_;
};

}  // namespace brood
