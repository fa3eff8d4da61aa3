// Acceptor: takes clients from a listening socket, as long as there is room for them. When
// descriptors or memory have run out it tries again a moment later. One thread, that of the
// io_context; no call blocks.
#pragma once

#include <functional>

#include "base/fd.h"
#include "daemon/asio.h"
#include "daemon/guard.h"

namespace brood {

class Acceptor {
 public:
  using Admit = std::function<void(Fd socket)>;
  using HasRoom = std::function<bool()>;

  // `admit` gets each client's socket (close-on-exec, blocking); it must not destroy the Acceptor.
  // While `has_room` says no, clients wait in the listener's queue; go_on() when it may say yes.
  Acceptor(boost::asio::io_context& io, Fd listener, Admit admit, HasRoom has_room);
  Acceptor(const Acceptor&) = delete;

  void go_on();
  void close();  // nobody comes any more

 private:
  void accept_some();
  void accept_later();

  boost::asio::posix::stream_descriptor listener_;
  boost::asio::steady_timer pause_;
  const Admit admit_;
  const HasRoom has_room_;
  bool waiting_ = false;
  Guard guard_;
};

}  // namespace brood
