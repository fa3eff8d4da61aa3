#include "http/responses.h"

#include <iterator>

namespace brood {
namespace {

struct StatusRow {
  unsigned status;
  const char* title;
  const char* code;  // of the protocol
};

constexpr StatusRow kStatuses[] = {
    {400, "Bad Request", "bad_request"},
    {401, "Unauthorized", "unauthorized"},
    {403, "Forbidden", "forbidden"},
    {404, "Not Found", "not_found"},
    {405, "Method Not Allowed", "bad_request"},
    {408, "Request Timeout", "timeout"},
    {409, "Conflict", "busy"},
    {413, "Content Too Large", "limit"},
    {415, "Unsupported Media Type", "bad_request"},
    {421, "Misdirected Request", "bad_request"},
    {426, "Upgrade Required", "bad_request"},
    {429, "Too Many Requests", "limit"},
    {431, "Request Header Fields Too Large", "limit"},
    {500, "Internal Server Error", "internal"},
    {503, "Service Unavailable", "unavailable"},
    {504, "Gateway Timeout", "timeout"},
};

const StatusRow& row_of(unsigned status) {
  for (const StatusRow& row : kStatuses)
    if (row.status == status) return row;
  return row_of(500);
}

Response make_problem(unsigned status, const char* code, const std::string& text) {
  const StatusRow& row = row_of(status);
  Response out = json_response(row.status, {{"type", "about:blank"},
                                            {"title", row.title},
                                            {"status", row.status},
                                            {"detail", text},
                                            {"code", code}});
  out.type = "application/problem+json";
  return out;
}

}  // namespace

unsigned status_of(ProblemCode code) {
  switch (code) {
    case ProblemCode::kBadRequest: return 400;
    case ProblemCode::kUnauthorized: return 401;
    case ProblemCode::kForbidden: return 403;
    case ProblemCode::kNotFound: return 404;
    case ProblemCode::kBusy:
    case ProblemCode::kEnded: return 409;
    case ProblemCode::kLimit: return 429;
    case ProblemCode::kUnavailable: return 503;
    case ProblemCode::kTimeout: return 504;
    case ProblemCode::kInternal: return 500;
  }
  return 500;
}

Response problem_response(unsigned status, const std::string& text) {
  return make_problem(status, row_of(status).code, text);
}

Response problem_response(const Problem& problem) {
  return make_problem(status_of(problem.code), name_of(problem.code), problem.text);
}

Response json_response(unsigned status, const nlohmann::json& body) {
  Response out;
  out.status = status;
  out.type = "application/json";
  out.body = dump(body) + "\n";
  return out;
}

Response empty_response() {
  Response out;
  out.status = 204;
  return out;
}

std::string dump(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace brood
