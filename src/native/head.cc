#include "native/head.h"

#include <algorithm>

#include "wire/message.h"

namespace brood {

using nlohmann::json;

bool offers_our_version(const json& head) {
  const auto versions = head.find("versions");
  return versions != head.end() && versions->is_array() &&
         std::find(versions->begin(), versions->end(), json(kProtocolVersion)) != versions->end();
}

Result<json> parse_head(std::string_view text) {
  if (is_deep(text))
    return Error{"the head is nested deeper than " + std::to_string(kMaxHeadDepth) + " levels"};
  json head = json::parse(text, nullptr, false);
  if (!head.is_object()) return Error{"the head is no JSON object"};
  return head;
}

std::string print_head(const json& head) {
  return head.dump(-1, ' ', false, json::error_handler_t::replace);
}

json problem_head(uint64_t request, const Problem& problem) {
  return {{"request", request},
          {"error", {{"code", name_of(problem.code)}, {"text", problem.text}}}};
}

std::string event_head(std::string_view session, const Event& event) {
  std::string out;
  out.reserve(64 + session.size() + event.type.size() + event.head.size());
  out.append("{\"session\":").append(session);
  out.append(",\"seq\":").append(std::to_string(event.seq));
  out.append(",\"type\":\"").append(event.type);
  out.append("\",\"cell\":").append(std::to_string(event.cell));
  std::string_view members = event.head;
  members.remove_prefix(std::min(members.find_first_not_of(" \t\r\n{"), members.size()));
  if (!members.starts_with('}') && !members.empty()) out.push_back(',');
  return out.append(members.empty() ? "}" : members);
}

}  // namespace brood
