// Api: everything a client can ask for, by method and members (docs/protocol.md, section 5). The
// one place where a caller's rights are checked; the native protocol, HTTP and WebSocket only carry
// requests to it and events away. Server process, its one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>

#include "session/event.h"

namespace brood {

// Who asks. Made by the doors (native, http) from what auth says.
struct Caller {
  std::string user;
  bool admin = false;
};

enum class ProblemCode {
  kBadRequest,
  kUnauthorized,
  kForbidden,
  kNotFound,
  kBusy,
  kEnded,
  kLimit,
  kUnavailable,
  kTimeout,
  kInternal
};
const char* name_of(ProblemCode code);  // "bad_request", ...

struct Problem {
  ProblemCode code = ProblemCode::kInternal;
  std::string text;  // a clause for people
};

struct Answer {
  nlohmann::json head = nlohmann::json::object();
  std::string body;
};

using Reply = std::function<void(std::variant<Answer, Problem>)>;

struct Request {
  std::string method;
  nlohmann::json head;  // its members; an object
  std::string body;
  size_t max_answer = SIZE_MAX;  // bytes of a head that the door can carry; `run` keeps to it
};

// Told when a subscription has something; called from the event loop, never from within a call into
// the subscription.
class Listener {
 public:
  virtual void on_events() = 0;

 protected:
  ~Listener() = default;
};

// A client joined to a session. Leaves when it is destroyed. Reading it is what frees the session's
// log, so read only what can be sent on: that is the backpressure.
class Subscription {
 public:
  virtual ~Subscription() = default;
  // The next event; null: none now, on_events() will tell. After an "ended" event there is no more.
  virtual EventPointer next() = 0;
  virtual const std::string& session() const = 0;
};

class Api {
 public:
  virtual ~Api() = default;

  // `reply` is called once, perhaps before call() returns, perhaps much later (run, new), or never
  // if the Api is destroyed. It may be called when its owner is gone: wrap it with a Guard.
  // Methods: all of the table but join and leave.
  virtual void call(const Caller& caller, Request request, Reply reply) = 0;

  struct Joined {
    Answer answer;
    std::unique_ptr<Subscription> subscription;
  };
  // The method `join`. `listener` must outlive the subscription.
  virtual std::variant<Joined, Problem> join(const Caller& caller, const nlohmann::json& head,
                                             Listener& listener) = 0;

  // Prometheus text (version 0.0.4) of everything brood counts.
  virtual std::string metrics() const = 0;
};

}  // namespace brood
