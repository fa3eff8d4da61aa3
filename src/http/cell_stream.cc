// POST .../execute with Accept: text/event-stream: the events of that one cell, as they come.
#include <algorithm>

#include "daemon/guard.h"
#include "http/event_text.h"
#include "http/messages.h"
#include "http/responders.h"
#include "http/responses.h"

namespace brood {
namespace {

using nlohmann::json;

class CellStream final : public Responder, private Listener {
 public:
  CellStream(Services& services, Exchange& exchange, Caller caller, Route route)
      : services_(services),
        exchange_(exchange),
        caller_(std::move(caller)),
        route_(std::move(route)),
        pause_(services.io) {}

  void start() override {
    read_json(exchange_, services_, guard_.wrap([this](json body) {
      body_ = std::move(body);
      body_.update(route_.head);
      call("info", route_.head, [this](const json& answer) { joined(answer); });
    }));
  }

 private:
  void call(const char* method, json head, std::function<void(const json&)> done) {
    services_.api.call(caller_, {method, std::move(head), ""},
                       guard_.wrap([this, done = std::move(done)](auto result) {
                         if (const Problem* problem = std::get_if<Problem>(&result))
                           return exchange_.answer(problem_response(*problem));
                         done(std::get<Answer>(result).head);
                       }));
  }

  // From the present event on; the cell's own come later.
  void joined(const json& info) {
    const json description = info.value("session", json::object());
    const std::optional<uint64_t> next = count_member(description, "next_seq");
    if (!next)
      return exchange_.answer(problem_response(500, "the session does not say where its log is"));
    json head = route_.head;
    head["after"] = std::max<uint64_t>(*next, 1) - 1;
    auto joined = services_.api.join(caller_, head, *this);
    if (const Problem* problem = std::get_if<Problem>(&joined))
      return exchange_.answer(problem_response(*problem));
    subscription_ = std::move(std::get<Api::Joined>(joined).subscription);
    call("execute", std::move(body_), [this](const json& answer) { begin(answer); });
  }

  void begin(const json& answer) {
    const std::optional<uint64_t> cell = count_member(answer, "cell");
    if (!cell) return exchange_.answer(problem_response(500, "the cell has no number"));
    cell_ = *cell;
    Response out;
    out.type = "text/event-stream";
    exchange_.begin(std::move(out), std::nullopt);
    writing_ = true;
    write(":\n\n");
  }

  void on_events() override {
    if (cell_ != 0 && !writing_) advance();
  }

  // Events are taken from the log only when those before are with the system.
  void advance() {
    writing_ = true;
    std::string text;
    while (text.empty() && !last_) {
      const EventPointer event = subscription_->next();
      if (!event) break;
      if (event->cell == cell_ || event->type == "dropped" || event->type == "ended")
        text = to_text(*event);
    }
    if (!text.empty()) return write(std::move(text));
    if (last_) return exchange_.finish();
    writing_ = false;
    comment_later();
  }

  std::string to_text(const Event& event) {
    last_ = event.type == "done" || event.type == "ended";
    std::string out;
    for (const EventText& one : writer_.write(event))
      out += "id: " + std::to_string(one.seq) + "\nevent: " + one.type + "\ndata: " + one.json +
             "\n\n";
    return out;
  }

  void write(std::string text) {
    pause_.cancel();
    exchange_.write(std::move(text), guard_.wrap([this] { advance(); }));
  }

  // So that a client that has gone is noticed, and nobody between takes the connection for dead.
  void comment_later() {
    pause_.expires_after(services_.options.comment_interval);
    pause_.async_wait(guard_.wrap([this](auto error) {
      if (error || writing_) return;
      writing_ = true;
      write(":\n\n");
    }));
  }

  Services& services_;
  Exchange& exchange_;
  const Caller caller_;
  const Route route_;
  json body_;
  boost::asio::steady_timer pause_;
  EventWriter writer_;
  uint64_t cell_ = 0;     // 0: not begun
  bool writing_ = false;  // or advancing
  bool last_ = false;     // the last event was taken
  std::unique_ptr<Subscription> subscription_;
  Guard guard_;
};

}  // namespace

std::unique_ptr<Responder> make_cell_stream(Services& services, Exchange& exchange, Caller caller,
                                            Route route) {
  return std::make_unique<CellStream>(services, exchange, std::move(caller), std::move(route));
}

}  // namespace brood
