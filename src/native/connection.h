// NativeConnection: one client of the native protocol (docs/protocol.md, section 5). Server
// process, its one thread. Never blocks; what it holds is bounded: one request of at most 8 MiB,
// answers (it stops reading while they are not taken), and about 256 KiB of events.
#pragma once

#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "auth/auth.h"
#include "base/fd.h"
#include "daemon/asio.h"
#include "daemon/guard.h"
#include "native/boxes.h"
#include "native/transport.h"
#include "session/api.h"

namespace brood {

struct NativeOptions {
  std::string owner;  // the name of who has the server's user id
  size_t connections = 1024;
  size_t sessions = 64;     // joined, per connection
  size_t outstanding = 64;  // requests without an answer, per connection
  int authentication_ms = 10'000;
};

// Who is at the other end, as far as its socket says.
struct NativePeer {
  std::string address;               // "unix", or the IP address
  std::optional<Identity> identity;  // set: needs no AUTH
};

class NativeConnection {
 public:
  // Null `context`: no TLS. `ended` is called once, from the event loop, when the connection has
  // ended; it destroys the connection.
  NativeConnection(boost::asio::io_context& io, Fd socket, SSL_CTX* context, NativePeer peer,
                   const NativeOptions& options, Api& api, Authenticator& authenticator,
                   std::function<void()> ended);
  ~NativeConnection();
  NativeConnection(const NativeConnection&) = delete;

 private:
  enum class State { kHello, kAuth, kReady, kRefusing, kClosing };
  enum class Frames { kAllHandled, kStalled };
  struct Joined;

  // reading
  void wait_readable();
  void read_some();
  void go_on();
  Frames handle_frames();
  void handle(const FrameView& frame);
  bool is_stalled() const;

  // messages
  void on_hello(const nlohmann::json& head);
  void on_auth(const nlohmann::json& head);
  void on_auth_step(const nlohmann::json& head);
  void refuse();
  void say_refused();
  void on_request(nlohmann::json head, std::string_view body);
  void call(uint64_t number, Request request);
  void join(uint64_t number, const nlohmann::json& head);
  void leave(uint64_t number, const nlohmann::json& head);
  void greet_known(nlohmann::json& head) const;

  // events
  void on_events(Joined& joined);
  void pump();
  size_t fill();
  void add_event(Joined& joined, EventPointer event);
  void forget_finished_soon();

  // writing
  void send(FrameType type, std::string_view head, std::string body = {});
  void answer(uint64_t number, std::variant<Answer, Problem> what);
  void answer_problem(uint64_t number, ProblemCode code, std::string text);
  void flush();
  void wait_writable();
  void on_writable();
  void give_up();

  // the end
  void fail(ProblemCode code, const std::string& text);
  void expire_after(int milliseconds, void (NativeConnection::*then)());
  void on_silence();
  void end();

  const NativeOptions& options_;
  const NativePeer peer_;
  Api& api_;
  Authenticator& authenticator_;
  const std::function<void()> ended_;
  boost::asio::posix::stream_descriptor socket_;
  std::unique_ptr<NativeTransport> transport_;
  boost::asio::steady_timer deadline_;

  State state_ = State::kHello;
  std::optional<Identity> identity_;
  std::unique_ptr<ScramExchange> exchange_;
  bool authenticated_ = false;  // by AUTH
  size_t outstanding_ = 0;

  Inbox inbox_;
  Outbox outbox_;
  bool reading_ = false;           // waits until the socket is readable
  bool writing_ = false;           // the same for writable
  bool stalled_ = false;           // does not read before answers were taken
  bool corked_ = false;            // more to write will come in this turn
  bool pumping_ = false;           // goes on with events in a turn of its own
  bool broken_ = false;            // nothing can be written any more
  bool read_wants_write_ = false;  // TLS
  bool write_wants_read_ = false;  // TLS

  std::list<Joined> joined_;
  std::deque<Joined*> ready_;  // they have events; in turn
  Guard guard_;
};

}  // namespace brood
