// Farewell: last words to a client that is let go. What it still sends is read and forgotten until
// it has left: a socket that is closed with unread bytes resets the connection, and the words are
// lost. Server process, its one thread. Destroying it closes the connection.
#pragma once

#include <functional>
#include <string_view>

#include "base/fd.h"
#include "daemon/asio.h"
#include "daemon/guard.h"

namespace brood {

class Farewell {
 public:
  // A few hundred bytes on a connection that takes them at once, or never. `ended` is called once,
  // from the event loop, within two seconds; it may destroy this.
  Farewell(boost::asio::io_context& io, Fd socket, std::string_view words,
           std::function<void()> ended);
  Farewell(const Farewell&) = delete;

 private:
  void wait_readable();
  void read_some();
  void end();

  boost::asio::posix::stream_descriptor socket_;
  boost::asio::steady_timer deadline_;
  std::function<void()> ended_;
  Guard guard_;
};

}  // namespace brood
