// The routes of docs/http.md, as a table: which address and verb is which method of the protocol,
// and how its answer is written. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <variant>

#include "http/url.h"

namespace brood {

enum class RouteKind {
  kHealth,
  kMetrics,
  kOpenApi,
  kLogin,
  kLogout,
  kMe,
  kCall,      // one call of the Api
  kExecute,   // kCall, or server-sent events
  kUpload,    // PUT of a file
  kDownload,  // GET of a file
  kSocket,    // WebSocket
  kPage       // a file of the page
};

// What of an answer's head becomes the body of the response.
enum class Shape {
  kWhole,    // 200, all of it
  kSession,  // 200, the member `session`
  kCreated,  // 201, Location, the member `session` (and `us`)
  kNothing   // 204
};

struct Route {
  RouteKind kind = RouteKind::kPage;
  const char* method = "";  // of the protocol
  Shape shape = Shape::kWhole;
  bool changes = false;    // needs an Origin when the cookie is what says who asks
  bool with_data = false;  // `data` or `base64` of the body is the request's body
  nlohmann::json head = nlohmann::json::object();  // the members that the address says
};

// Why there is none.
struct NoRoute {
  unsigned status = 404;  // 400, 404 or 405
  std::string text;
  std::string allow;  // of a 405
};

// `verb` as written; HEAD is found where GET is.
std::variant<Route, NoRoute> find_route(std::string_view verb, const Target& target);

}  // namespace brood
