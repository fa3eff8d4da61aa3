// GatewayVisitor: a client of a `gateway:` address until it has said which interpreter it wants
// (docs/protocol.md, section 8). Reads no byte behind that: the rest belongs to the interpreter.
// Server process, its one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "auth/auth.h"
#include "base/fd.h"
#include "daemon/asio.h"
#include "daemon/guard.h"
#include "session/api.h"
#include "wire/frame.h"

namespace brood {

struct GatewayWish {
  uint64_t request = 0;     // the number that the answer has
  std::string environment;  // empty: the default
  std::string engine;
};

class GatewayVisitor {
 public:
  struct End {
    Fd socket;  // blocking again
    // Neither: it has left, or cannot be talked to.
    std::optional<GatewayWish> wish;
    std::string last_words;  // the frame that says why it is let go
  };
  struct Admission {
    std::string address;               // the IP address, for counting failures
    std::optional<Identity> identity;  // set: needs no AUTH
    int patience_ms = 10'000;          // for all of the visit
  };

  // `done` is called once, from the event loop; it may destroy the visitor. The authenticator
  // outlives it.
  GatewayVisitor(boost::asio::io_context& io, Fd socket, Admission admission,
                 Authenticator& authenticator, std::function<void(End)> done);
  GatewayVisitor(const GatewayVisitor&) = delete;

 private:
  enum class State { kHello, kAuth, kRequest, kEnded };

  void wait_readable();
  void read_some();
  bool read_piece();
  void take_piece();
  void on_hello(const nlohmann::json& head);
  void on_auth(const nlohmann::json& head);
  void on_auth_failed();
  void on_request(const nlohmann::json& head);
  void say(FrameType type, const nlohmann::json& head);
  void expire_after(int64_t milliseconds, std::function<void()> then);
  void refuse(ProblemCode code, const std::string& text);
  void end(std::optional<GatewayWish> wish, std::string last_words);

  const Admission admission_;
  Authenticator& authenticator_;
  std::function<void(End)> done_;
  boost::asio::posix::stream_descriptor socket_;
  boost::asio::steady_timer deadline_;
  State state_ = State::kHello;
  std::unique_ptr<ScramExchange> exchange_;
  std::string bytes_;  // of a frame: its header, then all of it
  size_t wanted_ = kFrameHeader;
  Guard guard_;
};

// An ANSWER that refuses, as a frame; of a long text the end.
std::string refusal(uint64_t request, ProblemCode code, const std::string& text);

}  // namespace brood
