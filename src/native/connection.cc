#include "native/connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "native/head.h"
#include "wire/message.h"

namespace brood {
namespace {

using boost::asio::posix::descriptor_base;
using nlohmann::json;
using Moved = Progress::State;

constexpr uint32_t kMaxGreeting = 16u << 10;   // bytes of a frame before the client is known
constexpr size_t kEventsWaiting = 256u << 10;  // bytes in the outbox: no more events are pulled
constexpr size_t kAnswersWaiting = 1u << 20;   // bytes of answers: no more requests are read
constexpr size_t kMaxWaiting = 64u << 20;      // bytes: answers to what was asked before
constexpr size_t kMaxPulled = 4u << 20;        // bytes of events in one turn of the event loop
constexpr size_t kPieces = 64;                 // of one sendmsg
constexpr int kLastWordsMs = 2'000;            // for a client to take the last answer

std::string text_at(const json& head, const char* name) {
  const auto found = head.find(name);
  return found != head.end() && found->is_string() ? found->get<std::string>() : "";
}

bool fits_frame(std::string_view head, size_t body_size) {
  constexpr size_t kLengthField = 4;
  return head.size() <= kMaxMessageHead &&
         kLengthField + head.size() + body_size <= kMaxFramePayload;
}

}  // namespace

// One session that this client has joined.
struct NativeConnection::Joined final : Listener {
  explicit Joined(NativeConnection& to) : connection(to) {}
  void on_events() override { connection.on_events(*this); }

  NativeConnection& connection;
  std::string id;         // of the session, as a JSON string
  bool ready = false;     // is in the queue of those that have events
  bool finished = false;  // its last event was pulled
  std::unique_ptr<Subscription> subscription;
};

NativeConnection::NativeConnection(boost::asio::io_context& io, Fd socket, SSL_CTX* context,
                                   NativePeer peer, const NativeOptions& options, Api& api,
                                   Authenticator& authenticator, std::function<void()> ended)
    : options_(options),
      peer_(std::move(peer)),
      api_(api),
      authenticator_(authenticator),
      ended_(std::move(ended)),
      socket_(io, socket.release()),
      deadline_(io),
      identity_(peer_.identity) {
  socket_.non_blocking(true);
  transport_ = context ? make_tls_transport(socket_.native_handle(), context)
                       : make_plain_transport(socket_.native_handle());
  if (!transport_) {
    boost::asio::post(io, guard_.wrap([this] { end(); }));
    return;
  }
  expire_after(options_.authentication_ms, &NativeConnection::on_silence);
  wait_readable();
}

NativeConnection::~NativeConnection() = default;

// --- reading -------------------------------------------------------------------------------------

void NativeConnection::wait_readable() {
  if (reading_) return;
  reading_ = true;
  socket_.async_wait(descriptor_base::wait_read, guard_.wrap([this](auto error) {
    reading_ = false;
    if (error) return;
    if (write_wants_read_) {
      write_wants_read_ = false;
      flush();
    }
    if (!stalled_) read_some();
  }));
}

void NativeConnection::read_some() {
  const Progress got = transport_->read(inbox_.space());
  switch (got.state) {
    case Moved::kEnd: return end();
    case Moved::kWantRead: return wait_readable();
    case Moved::kWantWrite: read_wants_write_ = true; return wait_writable();
    case Moved::kSome: break;
  }
  inbox_.filled(got.bytes);
  go_on();
}

bool NativeConnection::is_stalled() const { return outbox_.answers_waiting() > kAnswersWaiting; }

// Handles what has arrived, answers it, and waits for more.
void NativeConnection::go_on() {
  for (;;) {
    corked_ = true;
    const Frames frames = handle_frames();
    corked_ = false;
    pump();
    if (is_stalled()) {
      stalled_ = true;  // on_writable() goes on
      return;
    }
    if (frames == Frames::kAllHandled) break;
  }
  if (!transport_->has_buffered()) return wait_readable();
  boost::asio::post(socket_.get_executor(), guard_.wrap([this] { read_some(); }));
}

NativeConnection::Frames NativeConnection::handle_frames() {
  FrameView frame;
  while (state_ != State::kRefusing && state_ != State::kClosing) {
    if (is_stalled()) return Frames::kStalled;
    const bool known = state_ == State::kReady;
    switch (inbox_.next(known ? kMaxFramePayload : kMaxGreeting, frame)) {
      case Inbox::Step::kPartial: return Frames::kAllHandled;
      case Inbox::Step::kMalformed: fail(ProblemCode::kBadRequest, inbox_.error()); break;
      case Inbox::Step::kFrame: handle(frame); break;
    }
  }
  inbox_.clear();  // what such a client still says does not count
  return Frames::kAllHandled;
}

void NativeConnection::handle(const FrameView& frame) {
  Result<MessageView> message = decode_message(frame.payload);
  Result<json> head = message ? parse_head(message->head) : Result<json>(message.error());
  if (!head) return fail(ProblemCode::kBadRequest, head.error().message);
  switch (frame.header.type) {
    case FrameType::kHello: return on_hello(*head);
    case FrameType::kAuth: return on_auth(*head);
    case FrameType::kRequest: return on_request(std::move(*head), message->body);
    default:
      return fail(ProblemCode::kBadRequest,
                  "a frame of type " + std::to_string(static_cast<int>(frame.header.type)) +
                      ", which no client sends");
  }
}

// --- messages ------------------------------------------------------------------------------------

void NativeConnection::greet_known(json& head) const {
  head["user"] = identity_->user;
  head["role"] = identity_->admin ? "admin" : "user";
}

void NativeConnection::on_hello(const json& head) {
  if (state_ != State::kHello) return fail(ProblemCode::kBadRequest, "a second HELLO");
  if (!offers_our_version(head))
    return fail(ProblemCode::kBadRequest,
                "this server speaks version " + std::to_string(kProtocolVersion) +
                    " of the protocol, which `versions` of HELLO does not offer");
  json answer = {{"version", kProtocolVersion},
                 {"server", "brood " BROOD_VERSION},
                 {"auth", json::array({kMechanism})},
                 {"limits", {{"frame", kMaxFramePayload}, {"sessions", options_.sessions}}}};
  state_ = State::kAuth;
  if (identity_) {
    greet_known(answer);
    state_ = State::kReady;
    deadline_.cancel();
  }
  send(FrameType::kHello, print_head(answer));
}

void NativeConnection::on_auth(const json& head) {
  if (state_ == State::kHello) return fail(ProblemCode::kBadRequest, "AUTH before HELLO");
  if (authenticated_ || outstanding_ > 0 || !joined_.empty())
    return fail(ProblemCode::kBadRequest, "AUTH when it is known already who asks");
  if (exchange_) return on_auth_step(head);
  if (text_at(head, "mechanism") != kMechanism)
    return fail(ProblemCode::kBadRequest, std::string("the one mechanism is ") + kMechanism);
  if (authenticator_.before_attempt(peer_.address).refused)
    return fail(ProblemCode::kUnauthorized,
                "too many failed attempts from this address; try again later");
  exchange_ = authenticator_.scram();
  on_auth_step(head);
}

void NativeConnection::on_auth_step(const json& head) {
  const auto data = head.find("data");
  if (data == head.end() || !data->is_string())
    return fail(ProblemCode::kBadRequest, "AUTH needs `data`, a text");
  Result<ScramExchange::Step> step = exchange_->step(data->get_ref<const std::string&>());
  if (!step) return refuse();
  json answer = {{"data", step->data}};
  if (step->identity) {
    authenticator_.succeeded(peer_.address);
    identity_ = std::move(step->identity);
    exchange_.reset();
    authenticated_ = true;
    state_ = State::kReady;
    deadline_.cancel();
    greet_known(answer);
  }
  send(FrameType::kAuth, print_head(answer));
}

// A failure is answered late, so that guessing takes time.
void NativeConnection::refuse() {
  constexpr int64_t kMillisecond = 1'000'000;
  const int64_t delay_ns = authenticator_.failed(peer_.address).delay_ns;
  exchange_.reset();
  state_ = State::kRefusing;
  expire_after(static_cast<int>(delay_ns / kMillisecond), &NativeConnection::say_refused);
}

void NativeConnection::say_refused() { fail(ProblemCode::kUnauthorized, "authentication failed"); }

void NativeConnection::on_request(json head, std::string_view body) {
  if (state_ != State::kReady)
    return fail(ProblemCode::kUnauthorized, "a REQUEST before HELLO and AUTH");
  const auto number = head.find("request");
  if (number == head.end() || !number->is_number_unsigned() || *number == 0)
    return fail(ProblemCode::kBadRequest, "REQUEST needs `request`, a number over 0");
  const auto count = number->get<uint64_t>();
  Request request{text_at(head, "method"), {}, std::string(body)};
  head.erase("request");
  head.erase("method");
  request.head = std::move(head);
  if (request.method.empty())
    return answer_problem(count, ProblemCode::kBadRequest, "REQUEST needs `method`, a text");
  if (request.method == "join") return join(count, request.head);
  if (request.method == "leave") return leave(count, request.head);
  call(count, std::move(request));
}

void NativeConnection::call(uint64_t number, Request request) {
  if (outstanding_ >= options_.outstanding)
    return answer_problem(number, ProblemCode::kLimit,
                          std::to_string(outstanding_) +
                              " requests of this connection wait for their answers, which is the "
                              "limit; try again after one of them");
  outstanding_++;
  request.max_answer = kMaxMessageHead;
  const Caller caller{identity_->user, identity_->admin};
  api_.call(caller, std::move(request),
            guard_.wrap([this, number](std::variant<Answer, Problem> what) {
              outstanding_--;
              answer(number, std::move(what));
            }));
}

void NativeConnection::join(uint64_t number, const json& head) {
  if (joined_.size() >= options_.sessions)
    return answer_problem(number, ProblemCode::kLimit,
                          "a connection joins at most " + std::to_string(options_.sessions) +
                              " sessions; leave one, or connect again");
  const std::string id = print_head(text_at(head, "session"));
  if (std::any_of(joined_.begin(), joined_.end(), [&](const Joined& one) { return one.id == id; }))
    return answer_problem(number, ProblemCode::kBadRequest,
                          "this connection has joined the session already");
  Joined& joined = joined_.emplace_back(*this);
  const Caller caller{identity_->user, identity_->admin};
  std::variant<Api::Joined, Problem> made = api_.join(caller, head, joined);
  if (auto* problem = std::get_if<Problem>(&made)) {
    joined_.pop_back();
    return answer(number, std::move(*problem));
  }
  auto& done = std::get<Api::Joined>(made);
  joined.id = print_head(done.subscription->session());
  joined.subscription = std::move(done.subscription);
  answer(number, std::move(done.answer));
  on_events(joined);
}

void NativeConnection::leave(uint64_t number, const json& head) {
  const std::string id = print_head(text_at(head, "session"));
  const auto found =
      std::find_if(joined_.begin(), joined_.end(), [&](const Joined& one) { return one.id == id; });
  if (found == joined_.end())
    return answer_problem(number, ProblemCode::kNotFound,
                          "this connection has not joined that session");
  std::erase(ready_, &*found);
  joined_.erase(found);
  answer(number, Answer{});
}

// --- events --------------------------------------------------------------------------------------

void NativeConnection::on_events(Joined& joined) {
  if (broken_ || joined.ready) return;
  joined.ready = true;
  ready_.push_back(&joined);
  if (!corked_) pump();
}

// Pulls events and writes them until nothing more can be written, or there are no more.
void NativeConnection::pump() {
  for (size_t pulled = 0; pulled < kMaxPulled;) {
    pulled += fill();
    flush();
    if (ready_.empty() || !outbox_.empty() || broken_) return;
  }
  if (pumping_) return;
  pumping_ = true;  // others get their turn
  boost::asio::post(socket_.get_executor(), guard_.wrap([this] {
    pumping_ = false;
    pump();
  }));
}

size_t NativeConnection::fill() {
  const size_t before = outbox_.waiting();
  while (outbox_.waiting() < kEventsWaiting && !ready_.empty()) {
    Joined& joined = *ready_.front();
    ready_.pop_front();
    EventPointer event = joined.subscription->next();
    joined.ready = event != nullptr;
    if (!event) continue;
    joined.finished = event->type == "ended";
    if (joined.finished)
      forget_finished_soon();
    else
      ready_.push_back(&joined);
    add_event(joined, std::move(event));
  }
  return outbox_.waiting() - before;
}

void NativeConnection::add_event(Joined& joined, EventPointer event) {
  std::string head = event_head(joined.id, *event);
  if (!fits_frame(head, event->body.size())) {
    const json notice = {{"text", "a " + event->type + " of " + std::to_string(event->size()) +
                                      " bytes is longer than a frame"}};
    event =
        std::make_shared<Event>(Event{event->seq, "notice", event->cell, print_head(notice), {}});
    head = event_head(joined.id, *event);
  }
  std::string front = encode_message_frame(FrameType::kEvent, head, event->body.size());
  outbox_.add_event(std::move(front), std::move(event));
}

// Not at once: a subscription does not end in its own call.
void NativeConnection::forget_finished_soon() {
  boost::asio::post(socket_.get_executor(), guard_.wrap([this] {
    joined_.remove_if([](const Joined& one) { return one.finished; });
  }));
}

// --- writing -------------------------------------------------------------------------------------

void NativeConnection::send(FrameType type, std::string_view head, std::string body) {
  if (broken_) return;
  std::string front = encode_message_frame(type, head, body.size());
  outbox_.add_answer(std::move(front), std::move(body));
  if (outbox_.waiting() > kMaxWaiting) return give_up();
  if (!corked_) flush();
}

void NativeConnection::answer(uint64_t number, std::variant<Answer, Problem> what) {
  if (state_ == State::kClosing) return;
  if (const auto* problem = std::get_if<Problem>(&what))
    return send(FrameType::kAnswer, print_head(problem_head(number, *problem)));
  auto& [head, body] = std::get<Answer>(what);
  head["request"] = number;
  const std::string text = print_head(head);
  if (fits_frame(text, body.size())) return send(FrameType::kAnswer, text, std::move(body));
  answer_problem(number, ProblemCode::kLimit,
                 "the answer has " + std::to_string(text.size() + body.size()) +
                     " bytes, which is more than a frame holds");
}

void NativeConnection::answer_problem(uint64_t number, ProblemCode code, std::string text) {
  answer(number, Problem{code, std::move(text)});
}

void NativeConnection::flush() {
  std::array<iovec, kPieces> pieces;
  while (!outbox_.empty() && !writing_ && !broken_) {
    const size_t count = outbox_.gather(pieces);
    const Progress sent = transport_->write(std::span<const iovec>(pieces).first(count));
    switch (sent.state) {
      case Moved::kSome: outbox_.written(sent.bytes); break;
      case Moved::kWantWrite: return wait_writable();
      case Moved::kWantRead: write_wants_read_ = true; return wait_readable();
      case Moved::kEnd: return give_up();
    }
  }
  if (state_ == State::kClosing && outbox_.empty()) transport_->finish();
}

void NativeConnection::wait_writable() {
  if (writing_) return;
  writing_ = true;
  socket_.async_wait(descriptor_base::wait_write, guard_.wrap([this](auto error) {
    writing_ = false;
    if (!error) on_writable();
  }));
}

void NativeConnection::on_writable() {
  pump();
  if (stalled_ && !is_stalled()) {
    stalled_ = false;
    return go_on();
  }
  if (!read_wants_write_) return;
  read_wants_write_ = false;
  read_some();
}

// May be called from within a call of the Api's: the end is reported in a turn of its own.
void NativeConnection::give_up() {
  if (broken_) return;
  broken_ = true;
  outbox_.clear();
  boost::asio::post(socket_.get_executor(), guard_.wrap([this] { end(); }));
}

// --- the end -------------------------------------------------------------------------------------

// Says why and closes. What the client sends meanwhile is read and forgotten: a socket that is
// closed with unread bytes resets the connection, and the answer is lost.
void NativeConnection::fail(ProblemCode code, const std::string& text) {
  ready_.clear();
  joined_.clear();
  send(FrameType::kAnswer, print_head(problem_head(0, {code, text})));
  state_ = State::kClosing;
  expire_after(kLastWordsMs, &NativeConnection::end);
  if (!corked_) flush();
}

void NativeConnection::on_silence() {
  fail(ProblemCode::kTimeout, "no authentication within " +
                                  std::to_string(options_.authentication_ms / 1000) + " seconds");
}

void NativeConnection::expire_after(int milliseconds, void (NativeConnection::*then)()) {
  deadline_.expires_after(std::chrono::milliseconds(milliseconds));
  deadline_.async_wait(guard_.wrap([this, then](auto error) {
    if (!error) (this->*then)();
  }));
}

// The function is part of what it destroys.
void NativeConnection::end() {
  const std::function<void()> ended = ended_;
  ended();
}

}  // namespace brood
