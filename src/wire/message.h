// Messages: the payload of session frames, a JSON head and a raw body. Pure; the head stays text
// here.
//
//   message := head_length:u32 head[head_length] body[rest]      little-endian
//
// docs/protocol.md sections 4 and 5 say which there are.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "wire/frame.h"

namespace brood {

inline constexpr uint32_t kMaxMessageHead = 4u << 20;  // bytes; a picture in base64 is in it

inline constexpr int kMaxHeadDepth = 64;  // levels; JSON is read recursively by many

// Whether JSON is nested deeper than kMaxHeadDepth: then no tree may be made of it, which is copied
// and written recursively. Looks at brackets outside of strings only.
bool is_deep(std::string_view json);

struct MessageView {
  std::string_view head;
  std::string_view body;  // both point into the payload
};

// The frame of a message but for its body, which the caller sends behind it without copying it. The
// whole must be within kMaxFramePayload, the head within kMaxMessageHead.
std::string encode_message_frame(FrameType type, std::string_view head, size_t body_size);

std::string encode_message(std::string_view head, std::string_view body = {});
Result<MessageView> decode_message(std::string_view payload);

}  // namespace brood
