// Responses: problems (RFC 9457) and JSON. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "http/exchange.h"
#include "session/api.h"

namespace brood {

unsigned status_of(ProblemCode code);

// Title and code follow from the status; `text` is a clause for people.
Response problem_response(unsigned status, const std::string& text);
Response problem_response(const Problem& problem);
Response json_response(unsigned status, const nlohmann::json& body);
Response empty_response();  // 204

// JSON text of any value: what is no UTF-8 is replaced by U+FFFD.
std::string dump(const nlohmann::json& value);

}  // namespace brood
