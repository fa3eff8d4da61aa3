// JSON that clients send, turned into requests, and answers turned into JSON. Pure; nothing here
// throws on bad input.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "session/api.h"

namespace brood {

inline constexpr size_t kMaxJsonDepth = 32;
inline constexpr size_t kMaxJsonValues = 10'000;  // of one text: each costs some 30 bytes

// A JSON object; an Error says what is wrong with it.
Result<nlohmann::json> parse_object(std::string_view text);

// A member that is a whole number, not below 0; nothing: there is none.
std::optional<uint64_t> count_member(const nlohmann::json& object, const char* name);

std::string encode_base64(std::string_view bytes);
Result<std::string> decode_base64(std::string_view text);

// Takes `data` (text) or `base64` out of a request's head: its body.
Result<std::string> take_body(nlohmann::json& head);
// Adds a body to an answer's or an event's head.
void put_body(nlohmann::json& head, const std::string& body);

// A message of a WebSocket.
struct SocketRequest {
  uint64_t number = 0;
  Request request;  // without `session`
};
struct BadSocketRequest {
  uint64_t number = 0;  // 0: not known
  std::string text;
};
std::variant<SocketRequest, BadSocketRequest> parse_socket_request(std::string_view text);

}  // namespace brood
