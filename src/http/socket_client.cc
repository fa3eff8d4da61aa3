// A WebSocket: one client joined to one session.
#include <deque>

#include "daemon/guard.h"
#include "http/event_text.h"
#include "http/gate.h"
#include "http/messages.h"
#include "http/responders.h"
#include "http/responses.h"

namespace brood {
namespace {

using nlohmann::json;

constexpr uint16_t kPolicy = 1008, kTryLater = 1013, kInternal = 1011;  // RFC 6455
constexpr uint16_t kNotAuthenticated = 4401, kNoSession = 4404, kEnded = 4410;

uint16_t close_code(ProblemCode code) {
  switch (code) {
    case ProblemCode::kUnauthorized: return kNotAuthenticated;
    case ProblemCode::kForbidden:
    case ProblemCode::kNotFound: return kNoSession;
    case ProblemCode::kEnded: return kEnded;
    case ProblemCode::kBadRequest: return kPolicy;
    case ProblemCode::kBusy:
    case ProblemCode::kLimit:
    case ProblemCode::kUnavailable:
    case ProblemCode::kTimeout: return kTryLater;
    case ProblemCode::kInternal: return kInternal;
  }
  return kInternal;
}

std::string answer_text(uint64_t number, const Answer& answer) {
  json out = answer.head;
  put_body(out, answer.body);
  out["request"] = number;
  return dump(out);
}

std::string error_text(uint64_t number, ProblemCode code, const std::string& text) {
  return dump({{"request", number}, {"error", {{"code", name_of(code)}, {"text", text}}}});
}

bool is_carried(const std::string& method) {
  for (const char* other : {"join", "leave", "new", "put", "get"})
    if (method == other) return false;
  return true;
}

class SocketClient final : public TextSocket::Handler, private Listener {
 public:
  SocketClient(Services& services, const RequestHead& head, Caller caller, const Route& route)
      : services_(services), gate_(services), head_(head), caller_(std::move(caller)) {
    session_ = route.head.value("session", "");
    auto joined = services.api.join(caller_, route.head, *this);
    if (Problem* problem = std::get_if<Problem>(&joined)) {
      problem_ = std::move(*problem);
      return;
    }
    Api::Joined& good = std::get<Api::Joined>(joined);
    subscription_ = std::move(good.subscription);
    json first = std::move(good.answer.head);
    first["type"] = "joined";
    queue_.push_back(dump(first));
  }

  void on_open(TextSocket& socket) override {
    socket_ = &socket;
    if (!subscription_) return leave(close_code(problem_.code), problem_.text);
    advance();
  }

  void on_message(std::string_view text) override {
    auto parsed = parse_socket_request(text);
    if (const BadSocketRequest* bad = std::get_if<BadSocketRequest>(&parsed))
      return fail(bad->number, ProblemCode::kBadRequest, bad->text);
    SocketRequest& one = std::get<SocketRequest>(parsed);
    if (!is_carried(one.request.method))
      return fail(one.number, ProblemCode::kBadRequest,
                  "a WebSocket does not know the method " + one.request.method);
    if (unanswered_ + queue_.size() >= services_.options.max_requests)
      return fail(one.number, ProblemCode::kLimit, "too many requests are waiting");
    call(one);
  }

  void on_sent() override {
    sending_ = false;
    advance();
  }

  std::optional<std::pair<uint16_t, std::string>> on_ping() override {
    if (gate_.still_valid(head_)) return std::nullopt;
    return std::pair(kNotAuthenticated, std::string("the login has ended"));
  }

 private:
  void on_events() override { advance(); }

  void call(SocketRequest& one) {
    if (one.request.method != "sessions" && one.request.method != "environments")
      one.request.head["session"] = session_;
    ++unanswered_;
    services_.api.call(caller_, std::move(one.request),
                       guard_.wrap([this, number = one.number](auto result) {
                         --unanswered_;
                         if (const Problem* problem = std::get_if<Problem>(&result))
                           say(error_text(number, problem->code, problem->text));
                         else
                           say(answer_text(number, std::get<Answer>(result)));
                       }));
  }

  // Who neither reads nor stops asking is let go: what waits for it has an end.
  void fail(uint64_t number, ProblemCode code, const std::string& text) {
    if (queue_.size() >= 2 * services_.options.max_requests)
      return leave(kPolicy, "too many answers are waiting to be read");
    say(error_text(number, code, text));
  }

  void leave(uint16_t code, const std::string& reason) {
    std::exchange(socket_, nullptr)->close(code, reason);
  }

  void say(std::string text) {
    queue_.push_back(std::move(text));
    advance();
  }

  // Events are taken from the log only when everything before is with the system.
  void advance() {
    if (!socket_ || sending_) return;
    while (queue_.empty() && !ended_) {
      const EventPointer event = subscription_->next();
      if (!event) return;
      ended_ = event->type == "ended";
      for (EventText& one : writer_.write(*event))
        queue_.push_back(std::move(one.json));
    }
    if (queue_.empty()) return leave(kEnded, "the session has ended");
    sending_ = true;
    std::string text = std::move(queue_.front());
    queue_.pop_front();
    socket_->send(std::move(text));
  }

  Services& services_;
  Gate gate_;
  const RequestHead head_;
  const Caller caller_;
  std::string session_;
  Problem problem_;               // why there is no subscription
  TextSocket* socket_ = nullptr;  // none: not open yet, or closing
  EventWriter writer_;
  std::deque<std::string> queue_;  // to be sent before the next event
  size_t unanswered_ = 0;          // requests that the Api has
  bool sending_ = false;
  bool ended_ = false;
  std::unique_ptr<Subscription> subscription_;
  Guard guard_;
};

class Upgrade final : public Responder {
 public:
  Upgrade(Services& services, Exchange& exchange, Caller caller, Route route)
      : services_(services),
        exchange_(exchange),
        caller_(std::move(caller)),
        route_(std::move(route)) {}
  void start() override {
    exchange_.upgrade(std::make_unique<SocketClient>(services_, exchange_.head(), caller_, route_));
  }

 private:
  Services& services_;
  Exchange& exchange_;
  const Caller caller_;
  const Route route_;
};

}  // namespace

std::unique_ptr<Responder> make_socket(Services& services, Exchange& exchange, Caller caller,
                                       Route route) {
  return std::make_unique<Upgrade>(services, exchange, std::move(caller), std::move(route));
}

}  // namespace brood
