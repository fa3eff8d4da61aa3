#include "http/routes.h"

#include <charconv>

namespace brood {
namespace {

enum class Parameter { kNone, kMemory, kAfter };

struct Row {
  std::string_view verb;
  std::string_view pattern;  // "{id}" is one segment; "{path}" and "{folder}/" the rest
  RouteKind kind;
  const char* method = "";
  Shape shape = Shape::kWhole;
  Parameter parameter = Parameter::kNone;
  bool with_data = false;
};

using enum RouteKind;
using enum Shape;
using enum Parameter;

// The first row that matches is taken.
constexpr Row kRows[] = {
    {"GET", "/healthz", kHealth},
    {"GET", "/metrics", kMetrics},
    {"GET", "/v1/openapi.json", kOpenApi},
    {"POST", "/v1/login", kLogin},
    {"POST", "/v1/logout", kLogout},
    {"GET", "/v1/me", kMe},
    {"GET", "/v1/environments", kCall, "environments"},
    {"GET", "/v1/sessions", kCall, "sessions"},
    {"POST", "/v1/sessions", kCall, "new", kCreated},
    {"GET", "/v1/sessions/{id}", kCall, "info", kSession},
    {"PATCH", "/v1/sessions/{id}", kCall, "rename", kSession},
    {"DELETE", "/v1/sessions/{id}", kCall, "remove", kNothing},
    {"POST", "/v1/sessions/{id}/execute", kExecute, "run"},
    {"POST", "/v1/sessions/{id}/interrupt", kCall, "interrupt", kNothing},
    {"POST", "/v1/sessions/{id}/signal", kCall, "signal", kNothing},
    {"POST", "/v1/sessions/{id}/undo", kCall, "undo"},
    {"POST", "/v1/sessions/{id}/fork", kCall, "fork", kCreated},
    {"POST", "/v1/sessions/{id}/stdin", kCall, "stdin", kNothing, kNone, true},
    {"POST", "/v1/sessions/{id}/message", kCall, "message", kNothing, kNone, true},
    {"POST", "/v1/sessions/{id}/complete", kCall, "complete"},
    {"POST", "/v1/sessions/{id}/inspect", kCall, "inspect"},
    {"GET", "/v1/sessions/{id}/checkpoints", kCall, "checkpoints", kWhole, kMemory},
    {"POST", "/v1/sessions/{id}/share", kCall, "share"},
    {"GET", "/v1/sessions/{id}/files", kCall, "files"},
    {"GET", "/v1/sessions/{id}/files/{folder}/", kCall, "files"},
    {"GET", "/v1/sessions/{id}/files/{path}", kDownload, "get"},
    {"PUT", "/v1/sessions/{id}/files/{path}", kUpload, "put", kNothing},
    {"DELETE", "/v1/sessions/{id}/files/{path}", kCall, "delete", kNothing},
    {"GET", "/v1/sessions/{id}/stream", kSocket, "join", kWhole, kAfter},
};

// The variable parts of a path that matches, not decoded.
struct Match {
  std::string_view id;
  std::string_view path;
};

std::string_view cut_segment(std::string_view& rest) {
  const size_t end = std::min(rest.find('/'), rest.size());
  const std::string_view segment = rest.substr(0, end);
  rest = end == rest.size() ? std::string_view() : rest.substr(end + 1);
  return segment;
}

bool matches(std::string_view pattern, std::string_view path, Match& match) {
  pattern.remove_prefix(1);
  path.remove_prefix(1);
  while (!pattern.empty()) {
    const bool more = pattern.find('/') != std::string_view::npos;
    if (pattern == "{folder}/" || pattern == "{path}") {
      match.path = path;
      return (path.empty() || path.ends_with('/')) == (pattern != "{path}");
    }
    const bool path_more = path.find('/') != std::string_view::npos;
    const std::string_view wanted = cut_segment(pattern);
    const std::string_view segment = cut_segment(path);
    if (wanted == "{id}" ? segment.empty() : wanted != segment) return false;
    if (wanted == "{id}") match.id = segment;
    if (more != path_more) return false;
  }
  return path.empty();
}

Result<uint64_t> number(const std::string& text) {
  uint64_t out = 0;
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, out);
  if (error != std::errc() || at != end) return Error{"expected a number, got \"" + text + "\""};
  return out;
}

Result<void> add_parameters(const Row& row, const Target& target, nlohmann::json& head) {
  for (const auto& [name, value] : target.query) {
    if (row.parameter == kMemory && name == "memory") {
      if (value != "0" && value != "1") return Error{"memory is 0 or 1"};
      head["memory"] = value == "1";
    } else if (row.parameter == kAfter && name == "after") {
      Result<uint64_t> after = number(value);
      if (!after) return Error{"after is the number of an event: " + after.error().message};
      head["after"] = *after;
    }
  }
  return {};
}

Result<void> add_members(const Row& row, const Match& match, const Target& target,
                         nlohmann::json& head) {
  if (!match.id.empty()) {
    Result<std::string> id = percent_decode(match.id);
    if (!id) return id.error();
    head["session"] = std::move(*id);
  }
  if (row.pattern.ends_with("{path}") || row.pattern.ends_with("{folder}/")) {
    Result<std::string> path = percent_decode(match.path);
    if (!path) return path.error();
    while (path->ends_with('/'))
      path->pop_back();
    if (!path->empty()) head["path"] = std::move(*path);
  }
  return add_parameters(row, target, head);
}

std::variant<Route, NoRoute> make_route(const Row& row, const Match& match, const Target& target) {
  Route route;
  route.kind = row.kind;
  route.method = row.method;
  route.shape = row.shape;
  route.changes = row.verb != "GET" || row.kind == kSocket;
  route.with_data = row.with_data;
  if (Result<void> done = add_members(row, match, target, route.head); !done)
    return NoRoute{400, done.error().message, ""};
  return route;
}

std::variant<Route, NoRoute> page_route(std::string_view verb, const Target& target) {
  if (target.path.starts_with("/v1/") || target.path == "/v1")
    return NoRoute{404, "there is nothing at this address; GET /v1/openapi.json lists the routes",
                   ""};
  if (verb == "GET") return Route{};
  return NoRoute{405, "the page's files can only be read", "GET, HEAD"};
}

}  // namespace

std::variant<Route, NoRoute> find_route(std::string_view verb, const Target& target) {
  std::string allow;
  const std::string_view wanted = verb == "HEAD" ? "GET" : verb;
  for (const Row& row : kRows) {
    Match match;
    if (!matches(row.pattern, target.path, match)) continue;
    if (row.verb == wanted) return make_route(row, match, target);
    allow += (allow.empty() ? "" : ", ") + std::string(row.verb);
    if (row.verb == "GET") allow += ", HEAD";
  }
  if (allow.empty()) return page_route(wanted, target);
  return NoRoute{405, "this address knows only " + allow, allow};
}

}  // namespace brood
