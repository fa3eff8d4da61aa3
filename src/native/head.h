// Heads: the JSON object of a message, to and from text. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.h"
#include "session/api.h"

namespace brood {

inline constexpr char kMechanism[] = "SCRAM-SHA-256";  // of AUTH

// Whether a client's HELLO has our version of the protocol among its `versions`.
bool offers_our_version(const nlohmann::json& head);

// An object, nested at most 64 deep (whoever prints it recurses).
Result<nlohmann::json> parse_head(std::string_view text);

// What is no UTF-8 is replaced.
std::string print_head(const nlohmann::json& head);

// `request` and `error`, as an ANSWER carries them.
nlohmann::json problem_head(uint64_t request, const Problem& problem);

// The head of an EVENT. `session`: the id as a JSON string.
std::string event_head(std::string_view session, const Event& event);

}  // namespace brood
