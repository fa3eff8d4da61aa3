// SocketWorker: a client's socket, and a worker of a warm environment that runs a program with that
// socket as its standard input, and maybe output. Once the program runs, the server has no part in
// what they say: each sees the other leave. When the client has left, the program has some time to
// end; then it is interrupted, then killed with its process group. Server process, its one thread.
// Destroying it kills the worker at once.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "daemon/asio.h"
#include "daemon/frame_stream.h"
#include "daemon/guard.h"
#include "daemon/preparation.h"

namespace brood {

struct SocketProgram {
  std::string text;  // run as with `python3 -u -c`
  std::vector<std::string> arguments;
  int folder = -1;  // its working directory; stays open
  int output = -1;  // its standard output; stays open; -1: the socket
  int errors = -1;  // its standard error; stays open
};

class SocketWorker final : private FrameStream::Handler {
 public:
  // How long after the client's end, or the end of what it sends.
  struct Patience {
    std::chrono::milliseconds until_interrupt{3000};
    std::chrono::milliseconds until_kill{4000};
  };
  // Why nothing ran; empty: the program has ended, in whatever way.
  using Ended = std::function<void(const std::string& why)>;

  SocketWorker(boost::asio::io_context& io, Fd socket, SocketProgram program, Prepare prepare,
               Patience patience);
  ~SocketWorker();
  SocketWorker(const SocketWorker&) = delete;

  // Once. `ended` is called once, from the event loop, and may destroy the worker.
  void start(Ended ended);
  pid_t pid() const { return pid_; }  // 0: not yet
  // For who is told that nothing ran: what to say why on.
  Fd take_socket() { return std::move(socket_); }

 private:
  // FrameStream::Handler, of connection_
  void on_frame(FrameType type, std::string_view payload) override;
  void on_end(const std::string& why) override;

  void prepare();
  Result<void> run_in(const Preparation& preparation);
  void try_again(const std::string& why);
  Result<void> begin(pid_t pid);
  void on_client_left();
  void signal_group(int number);
  void end(const std::string& why);

  boost::asio::io_context& io_;
  Fd socket_;  // until the program has it
  const SocketProgram program_;
  const Prepare prepare_;
  const Patience patience_;
  Ended ended_;
  int attempts_ = 0;
  std::unique_ptr<FrameStream> connection_;  // stands for the server: the worker dies with it
  pid_t pid_ = 0;
  Fd process_;
  boost::asio::posix::stream_descriptor client_;  // tells that the client has left
  boost::asio::steady_timer timer_;
  Guard guard_;
};

}  // namespace brood
