#include "session/collector.h"

#include <algorithm>
#include <utility>

namespace brood {
namespace {

using nlohmann::json;

constexpr size_t kMaxError = 192u << 10;  // bytes of an exception's report; else without traceback

json members(const Event& event) {
  json head = json::parse(event.head, nullptr, false, false);
  return head.is_object() ? head : json::object();
}

}  // namespace

Collector::Collector(Session& session, uint64_t after, uint64_t cell, size_t max_output,
                     size_t max_json, Reply reply)
    : session_(&session),
      cursor_(session.log().join(after)),
      cell_(cell),
      max_output_(max_output),
      max_json_(max_json),
      result_({{"status", "killed"},
               {"result", nullptr},
               {"displays", json::array()},
               {"error", nullptr},
               {"execution_count", nullptr},
               {"ms", 0.0},
               {"cell", cell},
               {"undone", false},
               {"why", ""},
               {"truncated", false}}),
      reply_(std::move(reply)) {
  session.add_listener(*this, false);
}

Collector::~Collector() {
  if (session_) session_->remove_listener(*this);
}

void Collector::on_events() {
  if (finished_) return;
  while (const EventPointer event = cursor_->next()) {
    take(*event);
    if (finished_) break;
  }
  if (!finished_) return session_->log_was_read();
  cursor_.reset();
  const Reply reply = std::move(reply_);
  Session& session = *std::exchange(session_, nullptr);
  session.remove_listener(*this);
  if (!session.has_begun()) return reply(session.has_ended());
  result_["stdout"] = std::move(out_);
  result_["stderr"] = std::move(err_);
  reply(Answer{std::move(result_), ""});
}

void Collector::take_output(std::string& text, const Event& event) {
  const size_t room = max_output_ - std::min(size_, max_output_);
  const size_t taken = json_prefix(event.body, room, max_json_ - std::min(json_, max_json_));
  if (event.body.size() > taken) result_["truncated"] = true;
  text.append(event.body, 0, taken);
  size_ += taken;
}

// The bytes of `text` that may be had: at most `room`, and at most `json_room` as JSON, which
// escapes some and has three for each that is no UTF-8.
size_t Collector::json_prefix(std::string_view text, size_t room, size_t json_room) {
  size_t used = 0, at = 0;
  for (; at < std::min(text.size(), room); at++) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const size_t more = byte < 0x20 ? 6 : byte == '"' || byte == '\\' ? 2 : byte >= 0x80 ? 3 : 1;
    if (used + more > json_room) break;
    used += more;
  }
  json_ += used;
  return at;
}

void Collector::take_error(json head, size_t bytes) {
  if (bytes > kMaxError) {
    result_["truncated"] = true;
    head["traceback"] = json::array();
    if (auto& value = head["value"]; value.is_string()) {
      std::string text = value.get<std::string>();
      value = text.substr(0, kMaxError / 6);
    }
  }
  result_["error"] = std::move(head);
}

void Collector::take(const Event& event) {
  if (event.type == "ended") {
    result_["why"] = session_->has_ended().text;
    finished_ = true;
    return;
  }
  if (event.type == "dropped") result_["truncated"] = true;
  if (event.cell != cell_) return;
  if (event.type == "stdout") return take_output(out_, event);
  if (event.type == "stderr") return take_output(err_, event);
  if (event.type != "display" && event.type != "result" && event.type != "error" &&
      event.type != "done")
    return;
  json head = members(event);
  if (event.type == "done") {
    result_.update(head);
    finished_ = true;
    return;
  }
  const size_t bytes = event.head.size();
  const bool fits = size_ + bytes <= max_output_ && json_ + bytes <= max_json_;
  size_ += fits ? bytes : 0;
  json_ += fits ? bytes : 0;
  if (!fits) result_["truncated"] = true;
  if (event.type == "error")
    take_error(std::move(head), bytes);
  else if (fits && event.type == "result")
    result_["result"] = std::move(head["data"]);
  else if (fits)
    result_["displays"].push_back(std::move(head["data"]));
}

}  // namespace brood
