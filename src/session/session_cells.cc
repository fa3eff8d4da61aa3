// The part of Session that is about cells, requests and events.
#include <signal.h>

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "session/session.h"
#include "wire/message.h"

namespace brood {
namespace {

constexpr size_t kMaxQueue = 64;           // cells
constexpr size_t kMaxCode = 1u << 20;      // bytes of one cell
constexpr size_t kMaxCodeText = 3u << 20;  // bytes of it as JSON; with the rest it is a head
constexpr size_t kMaxAsked = 64;           // completions and inspections under way
constexpr size_t kMaxMessage = 1u << 20;   // bytes
constexpr size_t kMaxUnsent = 4u << 20;    // bytes of messages that a busy worker did not take yet

std::string first_line(const std::string& code) {
  constexpr size_t kMost = 120;  // bytes
  std::string line = code.substr(0, std::min(code.find('\n'), kMost));
  while (!line.empty() && (line.back() & 0xc0) == 0x80 && line.size() == kMost)
    line.pop_back();  // not a part of a character
  return line;
}

// Nothing: it is no JSON, or nested too deep.
nlohmann::json parse(std::string_view text) {
  if (is_deep(text)) return nlohmann::json::value_t::discarded;
  return nlohmann::json::parse(text, nullptr, false, false);
}

std::string dump(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

// One that never began is missed for another reason than one that is over.
Problem Session::has_ended() const {
  const ProblemCode code = has_begun() ? ProblemCode::kEnded : ProblemCode::kUnavailable;
  return {code, "the session has ended: " + why_ended_};
}

// --- requests -----------------------------------------------------------------------------------

std::variant<uint64_t, Problem> Session::execute(CellRequest request) {
  if (state_ == State::kEnded) return has_ended();
  if (!why_ending_.empty())
    return Problem{ProblemCode::kEnded, "the session has ended: " + why_ending_};
  if (request.code.size() > kMaxCode)
    return Problem{ProblemCode::kLimit, "a cell may have at most 1 MiB of code"};
  if (dump(request.code).size() > kMaxCodeText)
    return Problem{ProblemCode::kLimit, "the code has too many characters that JSON must escape"};
  if (queue_.size() >= kMaxQueue)
    return Problem{ProblemCode::kLimit, "64 cells wait already; let some of them end first"};
  touch();
  const uint64_t cell = ++last_cell_;
  queue_.push_back({cell, std::move(request)});
  pump();
  return cell;
}

void Session::pump() {
  if (state_ != State::kIdle || holders_ > 0 || queue_.empty() || !link_ || !why_ending_.empty())
    return;
  Waiting next = std::move(queue_.front());
  queue_.pop_front();
  begin_cell(std::move(next));
}

void Session::let_cells_go() {
  if (--holders_ == 0) pump();
}

void Session::begin_cell(Waiting waiting) {
  attempts_ = 0;
  Running& cell = running_.emplace(Running{});
  cell.first = std::exchange(fresh_, false);
  pristine_ = false;
  cell.cell = waiting.cell;
  cell.execution_count = ++execution_count_;
  cell.request = std::move(waiting.request);
  cell.begin_ns = monotonic_ns();
  if (group_) out_of_memory_ = group_->out_of_memory();
  const bool wanted = cell.request.checkpoint && spec_.checkpoints > 0;
  if (!wanted) drop_ahead();
  const bool ahead = ahead_state_ == Ahead::kThere || ahead_state_ == Ahead::kAwaited;
  cell.may_wait = wanted && ahead_state_ != Ahead::kThere;
  set_state(State::kBusy);
  emit("cell",
       {{"code", cell.request.code},
        {"execution_count", cell.execution_count},
        {"by", cell.request.by}},
       cell.cell);
  // A worker that is gone is noticed by its end.
  link_->send(FrameType::kCell, dump({{"cell", cell.cell},
                                      {"code", cell.request.code},
                                      {"execution_count", cell.execution_count},
                                      {"checkpoint", wanted && !ahead}}));
  if (ahead_state_ == Ahead::kThere) {
    ahead_state_ = Ahead::kNone;
    keep_checkpoint(std::exchange(ahead_, {}));
  }
}

std::optional<Problem> Session::write_stdin(std::string_view bytes, bool eof) {
  if (state_ == State::kEnded) return has_ended();
  if (!link_) return Problem{ProblemCode::kBusy, "the session is starting"};
  touch();
  if (!running_) drop_ahead();
  if (!bytes.empty() && link_->stdin_ended())
    return Problem{ProblemCode::kBusy,
                   "the standard input of this cell has ended; the next cell has another"};
  if (!bytes.empty() && !link_->write_stdin(bytes))
    return Problem{ProblemCode::kLimit, "1 MiB waits to be read by the session already"};
  if (eof) link_->close_stdin();
  return std::nullopt;
}

std::optional<Problem> Session::send_message(std::string_view bytes) {
  if (state_ == State::kEnded) return has_ended();
  if (!link_) return Problem{ProblemCode::kBusy, "the session is starting"};
  if (bytes.size() > kMaxMessage)
    return Problem{ProblemCode::kLimit, "a message may have at most 1 MiB"};
  touch();
  if (link_->unsent() > kMaxUnsent)
    return Problem{ProblemCode::kLimit, "too many messages wait to be received by the session"};
  if (!running_) drop_ahead();
  link_->send(FrameType::kMessage, "{}", bytes);
  return std::nullopt;
}

std::optional<Problem> Session::interrupt(const std::string& tag) {
  if (state_ == State::kEnded) return has_ended();
  touch();
  if (!tag.empty() && !(running_ && running_->request.tag == tag)) {
    const auto found = std::find_if(queue_.begin(), queue_.end(), [&tag](const Waiting& waiting) {
      return waiting.request.tag == tag;
    });
    if (found == queue_.end()) return std::nullopt;  // it has just ended
    const Waiting waiting = std::move(*found);
    queue_.erase(found);
    cancel(waiting, "it was interrupted before it began");
    return std::nullopt;
  }
  if (tag.empty()) cancel_queue("the cell before it was interrupted");
  if (!running_ || !link_) return std::nullopt;  // nothing to interrupt: it has just ended
  if (running_->kill_ns == 0)
    running_->why = "it did not end within " +
                    std::to_string(settings_.interrupt_grace_ns / kSecond) +
                    " s after an interrupt";
  interrupt_cell();
  return std::nullopt;
}

std::optional<Problem> Session::signal(int number) {
  if (number == SIGINT) return interrupt();
  if (state_ == State::kEnded) return has_ended();
  // What a worker that is being resumed was made of is used up: if it died, that state were lost.
  if (!link_ || state_ == State::kStarting)
    return Problem{ProblemCode::kBusy, "the session is starting"};
  touch();
  attempts_ = 0;  // if it ends the worker, that is no failure
  link_->signal(number);
  return std::nullopt;
}

std::optional<Problem> Session::no_undo_to(uint64_t checkpoint) {
  if (state_ == State::kEnded) return has_ended();
  if (state_ != State::kIdle) return Problem{ProblemCode::kBusy, "a cell runs; interrupt it first"};
  if (!checkpoints_.find(checkpoint))
    return Problem{ProblemCode::kNotFound,
                   "there is no checkpoint " + std::to_string(checkpoint) + " (any more)"};
  return std::nullopt;
}

void Session::undo(uint64_t checkpoint, const std::string& by, Done done) {
  if (auto problem = no_undo_to(checkpoint)) return done(std::move(problem));
  touch();
  if (checkpoints_.find(checkpoint)->frozen) return go_back(checkpoint, by, std::move(done));
  // What there is now is kept until it is known that the environment can be had.
  const uint64_t number = ++last_undo_;
  waiting_for_zygote_[number] = std::move(done);
  host_.prepare_current(spec_.env, guard_.wrap([this, checkpoint, by,
                                                number](const Result<Preparation>& preparation) {
    auto waiting = waiting_for_zygote_.extract(number);
    if (waiting.empty()) return;
    Done told = std::move(waiting.mapped());
    if (!preparation)
      return told(Problem{ProblemCode::kUnavailable,
                          "the state before the first cell is that of the environment, which "
                          "cannot be had: " +
                              preparation.error().message});
    if (auto problem = no_undo_to(checkpoint)) return told(std::move(problem));
    go_back(checkpoint, by, std::move(told));
  }));
}

void Session::go_back(uint64_t checkpoint, const std::string& by, Done done) {
  waiting_for_idle_.push_back(std::move(done));
  if (!resume(checkpoint, "undo", by)) recover(std::nullopt);
}

void Session::ask(nlohmann::json head, Reply reply) {
  if (state_ == State::kEnded) return reply(has_ended());
  if (state_ != State::kIdle || !link_)
    return reply(
        Problem{ProblemCode::kBusy, "a cell runs; the session can tell when it has ended"});
  if (asked_.size() >= kMaxAsked)
    return reply(Problem{ProblemCode::kLimit, "too many questions at once"});
  const uint64_t number = ++last_ask_;
  head["ask"] = number;
  if (!link_->send(FrameType::kAsk, dump(head)))
    return reply(Problem{ProblemCode::kLimit, "too much waits to be received by the session"});
  asked_[number] = std::move(reply);
}

void Session::cancel_queue(const std::string& why) {
  for (const Waiting& waiting : std::exchange(queue_, {}))
    cancel(waiting, why);
}

void Session::cancel(const Waiting& waiting, const std::string& why) {
  emit("done",
       {{"status", "cancelled"},
        {"execution_count", nullptr},
        {"ms", 0.0},
        {"undone", false},
        {"why", why}},
       waiting.cell);
}

// --- what the worker says -----------------------------------------------------------------------

void Session::on_output(bool is_error, std::string&& bytes) {
  const bool was_cut = running_ && running_->output_cut;
  const uint64_t too_many = count_output(bytes.size());
  if (too_many > 0 && was_cut) return;
  bytes.resize(bytes.size() - std::min<uint64_t>(bytes.size(), too_many));
  if (const uint64_t rate = spec_.limits.output_rate; rate != 0) {
    const int64_t now = monotonic_ns();
    if (now - rate_window_ns_ >= kSecond) {
      rate_window_ns_ = now;
      rate_bytes_ = 0;
    }
    rate_bytes_ += bytes.size();
    rate_held_ = rate_bytes_ > rate;
  }
  if (!bytes.empty())
    emit_raw(is_error ? "stderr" : "stdout", "{}", std::move(bytes), running_ ? running_->cell : 0);
  hold_if_full();
}

// How much the running cell is beyond its limit now.
uint64_t Session::count_output(uint64_t bytes) {
  const uint64_t most = spec_.limits.output;
  if (!running_ || most == 0) return 0;
  running_->output += bytes;
  if (running_->output <= most) return 0;
  if (!std::exchange(running_->output_cut, true))
    stop_cell("output", "it wrote more than " + std::to_string(most) + " bytes", false);
  return running_->output - most;
}

void Session::on_frame(FrameType type, std::string_view head, std::string_view body,
                       std::vector<Fd>& descriptors) {
  if (type == FrameType::kMessage) {
    emit_raw("message", "{}", std::string(body), running_ ? running_->cell : 0);
    return hold_if_full();
  }
  const nlohmann::json members = parse(head);
  if (!members.is_object())  // not by our code, or a display of data that is nested too deep
    return emit("notice",
                {{"text",
                  "something that the session sent is lost: expected JSON with at "
                  "most 64 levels"}},
                running_ ? running_->cell : 0);
  try {
    switch (type) {
      case FrameType::kSessionReady: return on_ready(members);
      case FrameType::kCheckpoint: return on_checkpoint(members, body, descriptors);
      case FrameType::kWorkerEvent: return on_event(members, head.size());
      case FrameType::kDone: return on_done(members);
      case FrameType::kAnswerAsk: return on_answer(members);
      default: return;
    }
  } catch (const nlohmann::json::exception&) {
    // A member of another type than announced: not by our code. The frame is ignored.
  }
}

void Session::on_answer(nlohmann::json members) {
  const auto found = asked_.find(members.value("ask", uint64_t{0}));
  if (found == asked_.end()) return;
  const Reply reply = std::move(found->second);
  asked_.erase(found);
  members.erase("ask");
  reply(Answer{std::move(members), ""});
}

void Session::on_checkpoint(const nlohmann::json& head, std::string_view body,
                            std::vector<Fd>& descriptors) {
  const Ahead ahead = std::exchange(ahead_state_, Ahead::kNone);
  if (ahead == Ahead::kVoid || (!running_ && (ahead == Ahead::kNone || descriptors.size() != 1)))
    return descriptors.clear();
  if (running_) running_->may_wait = false;
  if (descriptors.size() != 1) {
    descriptors.clear();
    const std::string why = body.empty()
                                ? "its descriptor was lost on the way (too many open files?)"
                                : std::string(body.substr(0, 1000));
    emit("checkpoint", {{"checkpoint", running_->cell}, {"error", why}}, running_->cell);
    return;
  }
  Checkpoint made;
  made.created = wall_seconds();
  made.us = head.value("us", uint64_t{0});
  made.threads = head.value("threads", uint64_t{0});
  made.children = head.value("children", uint64_t{0});
  made.frozen = std::make_unique<Frozen>(reaper_, std::move(descriptors[0]));
  descriptors.clear();
  if (running_) return keep_checkpoint(std::move(made));
  made.cell = last_cell_ + 1;
  made.execution_count = execution_count_ + 1;
  ahead_ = std::move(made);
  ahead_state_ = Ahead::kThere;
}

// It is that of the running cell.
void Session::keep_checkpoint(Checkpoint made) {
  made.cell = running_->cell;
  made.execution_count = running_->execution_count;
  made.code = first_line(running_->request.code);
  emit("checkpoint",
       {{"checkpoint", made.cell},
        {"execution_count", made.execution_count},
        {"us", made.us},
        {"threads", made.threads},
        {"children", made.children}},
       made.cell);
  forget(checkpoints_.add(std::move(made), spec_.checkpoints));
}

void Session::on_event(nlohmann::json members, size_t size) {
  static constexpr std::array<std::string_view, 5> kTypes = {"display", "result", "error", "input",
                                                             "notice"};
  const std::string type = members.value("type", "");
  if (std::find(kTypes.begin(), kTypes.end(), type) == kTypes.end()) return;
  members.erase("type");
  const bool is_output = type == "display" || type == "result";
  if (is_output && count_output(size) > 0) return;  // a part of one is of no use
  if (type == "result" && running_) members["execution_count"] = running_->execution_count;
  emit(type, members, running_ ? running_->cell : 0);
  hold_if_full();
}

void Session::on_done(const nlohmann::json& head) {
  if (!running_ || head.value("cell", uint64_t{0}) != running_->cell) return;
  std::string status = head.value("status", "error");
  std::string why;
  if (!running_->status.empty()) {  // it was interrupted for a limit, and ended by itself
    status = running_->status;
    why = running_->why;
  }
  const bool exits = head.value("status", "") == "exit";
  if (!running_->status.empty() && !exits && checkpoints_.newest() &&
      checkpoints_.newest()->cell == running_->cell)
    return recover(std::nullopt);  // what it did before the limit is not to stay either
  if (exits) {
    status = "exit";
    why_ending_ = "exit() was called";
  }
  cell_over(status, why, false);
  if (why_ending_.empty()) {
    link_->renew_stdin();
    set_state(State::kIdle);
    host_.on_cell_done(*this);
    return pump();
  }
  end_ns_ = monotonic_ns() + 10 * kSecond;  // its exit handlers run
}

void Session::cell_over(const std::string& status, const std::string& why, bool undone) {
  const Running cell = std::move(*running_);
  running_.reset();
  const double ms = static_cast<double>(monotonic_ns() - cell.begin_ns) / 1e6;
  emit("done",
       {{"status", status},
        {"execution_count", cell.execution_count},
        {"ms", ms},
        {"undone", undone},
        {"why", why}},
       cell.cell);
}

// --- events -------------------------------------------------------------------------------------

void Session::emit(std::string type, const nlohmann::json& head, uint64_t cell) {
  emit_raw(std::move(type), dump(head), "", cell);
}

void Session::emit_raw(std::string type, std::string head, std::string body, uint64_t cell) {
  Event event;
  event.type = std::move(type);
  event.cell = cell;
  event.head = std::move(head);
  event.body = std::move(body);
  log_.append(std::move(event));
  wake_listeners();
}

// In a turn of its own: whoever reads may leave, join, or end the session.
void Session::wake_listeners() {
  if (waking_ || listeners_.empty()) return;
  waking_ = true;
  boost::asio::post(io_, guard_.wrap([this] {
    waking_ = false;
    const Guard::Watch watch = guard_.watch();
    const std::list<Joined> now = listeners_;
    for (const Joined& one : now) {
      const bool still =
          std::any_of(listeners_.begin(), listeners_.end(),
                      [&](const Joined& other) { return other.listener == one.listener; });
      if (still) one.listener->on_events();
      if (watch.gone()) return;
    }
  }));
}

void Session::add_listener(Listener& listener, bool counts) {
  listeners_.push_back({&listener, counts});
  if (!counts) return;
  clients_++;
  say_state();
}

void Session::remove_listener(Listener& listener) {
  const auto found = std::find_if(listeners_.begin(), listeners_.end(),
                                  [&](const Joined& one) { return one.listener == &listener; });
  if (found == listeners_.end()) return;
  const bool counts = found->counts;
  listeners_.erase(found);
  log_was_read();
  if (!counts) return;
  clients_--;
  no_clients_since_ns_ = monotonic_ns();
  say_state();
}

void Session::log_was_read() { hold_if_full(); }

void Session::hold_if_full() {
  if (link_) link_->hold(rate_held_ || log_.full());
}

void Session::set_state(State state) {
  if (state_ == state) return;
  state_ = state;
  say_state();
}

void Session::say_state() {
  if (state_ != State::kEnded) emit("state", {{"state", name_of(state_)}, {"clients", clients_}});
}

// --- what it is ---------------------------------------------------------------------------------

void Session::share(const std::string& user, Access access) {
  if (access == Access::kNone)
    shares_.erase(user);
  else
    shares_[user] = access;
  wake_listeners();  // some may be shut out
}

Session::Access Session::access(const Caller& caller) const {
  if (caller.admin || caller.user == spec_.owner) return Access::kOwner;
  Access found = Access::kNone;
  for (const std::string& name : {caller.user, std::string("*")})
    if (const auto share = shares_.find(name); share != shares_.end())
      found = std::max(found, share->second);
  return found;
}

nlohmann::json Session::shares() const {
  nlohmann::json out = nlohmann::json::object();
  for (const auto& [user, access] : shares_)
    out[user] = name_of(access);
  return out;
}

nlohmann::json Session::describe(const Caller& caller) const {
  return {{"id", spec_.id},
          {"name", spec_.name},
          {"env", spec_.env},
          {"owner", spec_.owner},
          {"access", name_of(access(caller))},
          {"shares", shares()},
          {"state", name_of(state_)},
          {"execution_count", execution_count_},
          {"cell", running_ ? running_->cell : 0},
          {"queued", queue_.size()},
          {"created", created_},
          {"used", used_},
          {"clients", clients_},
          {"checkpoints", checkpoints_.size()},
          {"python", python_},
          {"limits", to_json(spec_.limits)},
          {"why", why_ended_},
          {"next_seq", log_.next_seq()}};
}

}  // namespace brood
