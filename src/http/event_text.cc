#include "http/event_text.h"

#include <nlohmann/json.hpp>

#include "http/messages.h"
#include "http/responses.h"

namespace brood {
namespace {

// The members of an event follow its own ones without being parsed: a picture is megabytes.
std::string splice(const Event& event, const nlohmann::json& more) {
  nlohmann::json own = {{"seq", event.seq}, {"type", event.type}, {"cell", event.cell}};
  own.update(more);
  std::string out = dump(own);
  const size_t open = event.head.find('{'), close = event.head.rfind('}');
  if (open == std::string::npos || close == std::string::npos || open >= close) return out;
  std::string members = event.head.substr(open + 1, close - open - 1);
  if (members.find_first_not_of(" \t\r\n") == std::string::npos) return out;
  for (char& c : members)  // between the members; within texts they are escaped
    if (c == '\n' || c == '\r') c = ' ';
  if (!is_utf8(members)) {
    Utf8Stream whole;
    members = whole.next(members);
    members += whole.flush();
  }
  out.back() = ',';
  return out + members + "}";
}

EventText make_text(const Event& event, const nlohmann::json& more) {
  return {event.seq, event.type, splice(event, more)};
}

bool ends_output(const std::string& type) {
  return type == "done" || type == "undone" || type == "dropped" || type == "ended";
}

}  // namespace

void EventWriter::flush(Utf8Stream& stream, const char* type, std::vector<EventText>& out) {
  if (stream.empty()) return;
  const Event rest{last_seq_, type, last_cell_, "{}", ""};
  out.push_back(make_text(rest, {{"data", stream.flush()}}));
}

std::vector<EventText> EventWriter::write(const Event& event) {
  std::vector<EventText> out;
  nlohmann::json more = nlohmann::json::object();
  if (event.type == "stdout" || event.type == "stderr") {
    Utf8Stream& stream = event.type == "stdout" ? stdout_ : stderr_;
    std::string text = stream.next(event.body);
    if (!text.empty()) out.push_back(make_text(event, {{"data", std::move(text)}}));
  } else {
    if (ends_output(event.type)) {
      flush(stdout_, "stdout", out);
      flush(stderr_, "stderr", out);
    }
    if (event.type == "message") {
      more["data"] = "";
      put_body(more, event.body);
      if (more.contains("base64")) more.erase("data");
    }
    out.push_back(make_text(event, more));
  }
  last_seq_ = event.seq;
  last_cell_ = event.cell;
  return out;
}

}  // namespace brood
