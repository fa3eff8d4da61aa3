// FrameStream: one connection of the daemon that carries frames. Reads never block, what cannot be
// written at once is kept. After the destructor nothing of the handler is called.
#pragma once

#include <string>
#include <string_view>

#include "base/fd.h"
#include "daemon/asio.h"
#include "daemon/guard.h"
#include "wire/frame.h"

namespace brood {

class FrameStream {
 public:
  class Handler {
   public:
    // Either may destroy the stream. The payload is valid during the call only.
    virtual void on_frame(FrameType type, std::string_view payload) = 0;
    // The peer left, broke the protocol, or does not read. Called at most once; nothing follows it.
    virtual void on_end(const std::string& why) = 0;

   protected:
    ~Handler() = default;
  };

  // `limit`: the longest payload that is accepted.
  FrameStream(boost::asio::io_context& io, Fd socket, uint32_t limit, Handler& handler);
  FrameStream(const FrameStream&) = delete;

  void send(FrameType type, std::string_view payload);
  // Handles what has arrived already; for the last words of a process that has ended.
  void drain();
  size_t unsent() const { return outbox_.size(); }

 private:
  void wait_readable();
  void wait_writable();
  bool read_once();  // false: nothing more to read now, or ended, or destroyed
  bool deliver();
  void write_some();
  void give_up();
  void end(const std::string& why);

  boost::asio::posix::stream_descriptor socket_;
  const uint32_t limit_;
  Handler& handler_;
  FrameParser parser_;
  std::string outbox_;
  bool writing_ = false;
  bool ended_ = false;
  Guard guard_;
};

}  // namespace brood
